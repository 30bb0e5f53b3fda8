"""Rows that do not count: what the user excludes, the reasons there are, and how they are counted and told.

Every row is encoded and stored, in order. A row that does not count is marked in `row_mask`, and no figure is made of
it: not the quality, not the index, not a contrast. A row has the first of these reasons that applies:

    mask    the producer marked it, as padding for instance
    token   its token id is among those that the user excludes
    first   it is among the first N rows of its document
    norm    its norm is over X times the shard's median norm

`encoder.work.counting` finds these rows.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from encoder.errors import InputError

if TYPE_CHECKING:
    from encoder.arrays import U8, Bool

REASONS = ("mask", "token", "first", "norm")
"""In `row_reason` a row has the number of its reason, counted from 1; 0 where it counts."""

_EXPECTED = {
    "tokens": "token ids, such as 0,2",
    "first": "a number of rows, 0 or more",
    "norm": "how many times the median norm is too much, such as 10",
}


@dataclass(frozen=True, slots=True)
class Exclude:
    """Which rows the user leaves out of every figure: by token id, the first of each document, by norm.

    `Exclude.of` makes one, with the token ids in order, so that equal settings are equal.
    """

    tokens: tuple[int, ...] = ()
    first: int = 0
    norm: float | None = None

    @classmethod
    def of(cls, tokens: str | int | Iterable[int] | None, first: int | None, norm: float | None) -> Exclude:
        """Make one of a flag's or a keyword's value: `"0,2"`, 2, or [0, 2]. Raises: InputError, with the flag."""
        return cls(_ids(tokens), _first(first), _norm(norm))

    @classmethod
    def of_document(cls, document: object) -> Exclude:
        """Read what `document` returned; None excludes nothing. Raises: InputError."""
        if document is None:
            return cls()
        if not isinstance(document, Mapping) or not {*document} <= {*_EXPECTED}:
            raise InputError(f"exclude {str(document)[:100]}: expected an object with {', '.join(_EXPECTED)}")
        return cls.of(document.get("tokens"), document.get("first"), document.get("norm"))

    def document(self) -> dict[str, Any]:
        """Return it as a ticket and a file's `meta` have it."""
        return asdict(self) | {"tokens": list(self.tokens)}

    def __bool__(self) -> bool:
        return self != Exclude()

    def __str__(self) -> str:
        """Return the flags that say so."""
        values = (",".join(map(str, self.tokens)), self.first, None if self.norm is None else f"{self.norm:g}")
        flags = [f"--exclude-{name} {value}" for name, value in zip(_EXPECTED, values, strict=True) if value]
        return " ".join(flags) or "no row excluded"


def _ids(tokens: str | int | Iterable[int] | None) -> tuple[int, ...]:
    try:
        if isinstance(tokens, str):
            found = [int(part) for part in tokens.split(",")] if tokens.strip() else []
        elif tokens is None or isinstance(tokens, Iterable):
            found = [_whole(token) for token in (() if tokens is None else tokens)]
        else:
            found = [_whole(tokens)]
    except (TypeError, ValueError):
        _refuse("tokens", tokens)
    if any(not 0 <= token < 1 << 63 for token in found):
        _refuse("tokens", tokens)
    return tuple(sorted(set(found)))


def _first(first: int | None) -> int:
    try:
        n = _whole(first or 0)
    except TypeError:
        _refuse("first", first)
    return n if 0 <= n < 1 << 63 else _refuse("first", first)


def _norm(norm: float | None) -> float | None:
    if norm is None:
        return None
    if isinstance(norm, bool | str) or not hasattr(norm, "__float__") or not 0 < float(norm) < math.inf:
        _refuse("norm", norm)
    return float(norm)


def _whole(value: Any) -> int:
    if isinstance(value, bool):  # numpy's own boolean has no index
        raise TypeError
    return operator.index(value)


def _refuse(name: str, got: object) -> NoReturn:
    raise InputError(f"--exclude-{name} {str(got)[:100]}: expected {_EXPECTED[name]}")


def reasons_in(counts: Bool, row_reason: U8 | None) -> U8:
    """Return why each row does not count, as a features file has it: uint8 [T], 0 where the row counts.

    Without `row_reason`, and where its numbers are unknown, the reason is the mask.
    """
    import numpy as np  # what is read of a queue needs no numpy

    reasons = np.where(counts, 0, 1).astype(np.uint8)
    if row_reason is not None:
        known = ~counts & (row_reason > 0) & (row_reason <= len(REASONS))
        reasons[known] = row_reason[known]
    return reasons


def by_reason(reasons: U8) -> dict[str, int]:
    """Count the rows that do not count by their reason."""
    import numpy as np

    counts = np.bincount(reasons, minlength=len(REASONS) + 1).tolist()
    return dict(zip(REASONS, counts[1:], strict=True))


def in_words(excluded: Mapping[str, int]) -> str:
    """Say how many rows do not count, and why; "" where all do."""
    total = sum(excluded.values())
    reasons = ", ".join(f"{reason} {n:,}" for reason, n in excluded.items() if n)
    rows = "row does" if total == 1 else "rows do"
    return f"{total:,} {rows} not count ({reasons})" if total else ""
