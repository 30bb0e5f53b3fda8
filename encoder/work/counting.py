"""Find the rows of a shard that do not count. `encoder.rows` names the reasons.

What does not count changes nothing for what does, wherever it stands: masked rows are not counted towards the first N
of a document, and the median norm is that of the rows which neither the producer nor another setting excludes. Rows of
zeros do not go into the median either, as the unwritten tail of a file would pull it down to 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np

from encoder.arrays import F64, I64, U8, Bool
from encoder.errors import ShardError
from encoder.file.documents import document_starts
from encoder.rows import REASONS, Exclude, by_reason
from encoder.shard import Shard, Tokens

MASK, TOKEN, FIRST, NORM = range(1, len(REASONS) + 1)


def reasons_of(tokens: Tokens, n_rows: int, exclude: Exclude, name: str) -> U8:
    """Return why each row does not count, norms not yet asked: uint8 [n_rows], 0 where the row counts.

    Raises: ShardError, with the shard's `name`, where token ids are excluded and the shard has none.
    """
    reasons = np.zeros(n_rows, np.uint8)
    if tokens.row_mask is not None:
        reasons[~tokens.row_mask] = MASK
    is_real = reasons == 0
    if exclude.tokens:
        if tokens.token_ids is None:
            raise ShardError(f"{name}: has no token ids for --exclude-tokens to look at; --exclude-first N needs none")
        reasons[is_real & np.isin(tokens.token_ids, exclude.tokens)] = TOKEN
    if exclude.first and n_rows:
        reasons[(reasons == 0) & _first_of_documents(tokens, is_real, exclude.first)] = FIRST
    return reasons


def _first_of_documents(tokens: Tokens, is_real: Bool, n: int) -> Bool:
    """Say which real rows are among the first `n` real ones of their document.

    A document of which the shard has only the end begins with another `row_position` than 0.
    """
    starts = document_starts(tokens.row_document, len(is_real))
    real_before: I64 = np.cumsum(is_real) - is_real
    before: I64 = real_before[starts]
    if tokens.row_position is not None:
        before = before - np.maximum(tokens.row_position[starts], 0)
    lengths = np.diff(np.append(starts, len(is_real)))
    is_first: Bool = is_real & (real_before - np.repeat(before, lengths) < n)
    return is_first


def exclude_by_norm(reasons: U8, norms: F64, times: float) -> None:
    """Mark those of the rows that count whose norm is over `times` the median; changes `reasons`.

    Infinity is over every median; a row that holds NaN is not marked.
    """
    telling = norms[(reasons == 0) & (norms > 0) & (norms < np.inf)]
    if len(telling):
        reasons[(reasons == 0) & (norms > times * np.median(telling))] = NORM


def marked(tokens: Tokens, reasons: U8) -> Tokens:
    """Return what the features file says of its rows: with `row_mask`, and with the reasons where the user has some."""
    if not reasons.any():
        return tokens
    return replace(tokens, row_mask=reasons == 0, row_reason=reasons if (reasons > MASK).any() else None)


def _notes(tokens: Tokens, exclude: Exclude) -> tuple[str, ...]:
    """Say what the first rows of a document are where the shard does not say where its documents begin."""
    if not exclude.first or tokens.row_document is not None:
        return ()
    rows = "row" if exclude.first == 1 else f"{exclude.first:,} rows"
    return (
        f"it does not say where its texts begin, so --exclude-first {exclude.first} left out the first {rows} of the"
        " file alone; an array [document, token, d] says where they begin",
    )


def _are_equal(one: Tokens, other: Tokens) -> bool:
    for field in fields(Tokens):
        a, b = getattr(one, field.name), getattr(other, field.name)
        is_array = isinstance(a, np.ndarray) and isinstance(b, np.ndarray)
        if a is not b and (a is None or b is None or not (np.array_equal(a, b) if is_array else a == b)):
            return False
    return True


@dataclass(frozen=True, slots=True)
class Counted:
    """What is known of a shard's rows before they are encoded: `tokens` as the file will have them, and which count.

    Where all rows count there is no array of them, as a shard may have more rows than fit into memory.
    """

    tokens: Tokens
    reasons: U8 | None = None
    notes: tuple[str, ...] = ()

    def counts(self, start: int, stop: int) -> Bool:
        """Say which rows of [start, stop) count: bool [stop - start]."""
        return np.ones(stop - start, np.bool_) if self.reasons is None else self.reasons[start:stop] == 0

    def sharing(self, other: Counted) -> Counted:
        """Return the same, with the tokens of `other` where these are equal, so that they are in memory once."""
        return replace(self, tokens=other.tokens) if _are_equal(self.tokens, other.tokens) else self

    @property
    def excluded(self) -> dict[str, int]:
        """Return how many rows do not count, by reason."""
        return by_reason(np.zeros(0, np.uint8) if self.reasons is None else self.reasons)

    @classmethod
    def of(cls, tokens: Tokens, shard: Shard, exclude: Exclude, norms: Callable[[], F64]) -> Counted:
        """Find the rows that do not count; `norms` goes through the whole shard, so it is called only if need be.

        Raises: ShardError where the shard lacks what `exclude` asks for, or its arrays do not match its rows.
        """
        for name in ("token_ids", "texts", "row_document", "row_position", "row_mask"):
            array = getattr(tokens, name)
            if array is not None and len(array) != shard.n_rows:
                raise ShardError(f"{shard.path}: {len(array):,} {name} for {shard.n_rows:,} rows; they must match")
        if tokens.row_mask is None and not exclude:
            return cls(tokens)
        reasons = reasons_of(tokens, shard.n_rows, exclude, str(shard.path))
        if exclude.norm is not None:
            exclude_by_norm(reasons, norms(), exclude.norm)
        return cls(marked(tokens, reasons), reasons, _notes(tokens, exclude))
