"""What a shard says of its rows, as arrays of a features file and back.

    token_ids       int64  [T]
    row_document    int64  [T]
    row_position    int64  [T]
    row_mask        bool   [T]      False where the row does not count
    row_reason      uint8  [T]      why not (see encoder.rows); absent where the producer's mask is the one reason
    tokens          U<w>   [T]      one string a row: if w, the longest, is at most 64 and none ends in NUL; else
    tokens          uint8  [bytes]  all strings one after the other in UTF-8 (lone surrogates kept), and with it
    tokens_offsets  int64  [T + 1]  string i is the bytes [offsets[i], offsets[i + 1])

The first form of `tokens` is what `np.load` users expect. But it takes the longest token's room for every row, and
numpy cuts NULs off an element's end; so where either would hurt, the second form is used. All are absent where the
shard does not say; `sections` are in `meta`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from encoder.arrays import AnyArray
from encoder.errors import ShardError

if TYPE_CHECKING:
    from encoder.shard import Tokens


DTYPES = {"token_ids": "<i8", "row_document": "<i8", "row_position": "<i8", "row_mask": "|b1", "row_reason": "|u1"}
NAMES = (*DTYPES, "tokens", "tokens_offsets")
MAX_FIXED_CHARACTERS = 64
_BLOCK_ROWS = 1 << 16

Spec = tuple[str, str, tuple[int, ...], Iterable[Any]]
"""An array to write: name, dtype, shape, and its bytes in parts."""


def arrays_of(tokens: Tokens, n_rows: int, name: str) -> Iterator[Spec]:
    """Say which arrays to write. Raises ShardError, with the file's `name`, if one has not one entry for each row."""

    def must_match(array: str, shape: tuple[int, ...]) -> None:
        if shape != (n_rows,):
            raise ShardError(f"{name}: {array} has the shape {list(shape)}, expected [{n_rows}], one for each row")

    for array, dtype in DTYPES.items():
        values = getattr(tokens, array)
        if values is not None:
            must_match(array, np.shape(values))
            yield array, dtype, (n_rows,), [np.ascontiguousarray(values, dtype).data]
    if tokens.texts is not None:
        must_match("tokens", (len(tokens.texts),))
        yield from _of_texts(tokens.texts)


def _of_texts(texts: list[str]) -> Iterator[Spec]:
    width = max([1, *map(len, texts)])
    blocks = range(0, len(texts), _BLOCK_ROWS)
    if width <= MAX_FIXED_CHARACTERS and not any(text.endswith("\0") for text in texts):
        fixed = f"<U{width}"
        yield "tokens", fixed, (len(texts),), (np.array(texts[at : at + _BLOCK_ROWS], fixed).data for at in blocks)
        return
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    offsets = np.zeros(len(texts) + 1, "<i8")
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    yield "tokens", "|u1", (int(offsets[-1]),), (b"".join(encoded[at : at + _BLOCK_ROWS]) for at in blocks)
    yield "tokens_offsets", "<i8", offsets.shape, [offsets.data]


def fits(name: str, dtype: np.dtype[Any], shape: tuple[int, ...], n_rows: int, exact_texts: bool) -> bool:
    """Say whether an array of a file has the dtype and shape above; `exact_texts` if the file has `tokens_offsets`."""
    if name == "tokens_offsets":
        return dtype == "<i8" and shape == (n_rows + 1,)
    if name == "tokens" and exact_texts:
        return dtype == "|u1" and len(shape) == 1
    right = dtype.kind == "U" if name == "tokens" else dtype == DTYPES[name]
    return right and shape == (n_rows,)


def texts_of(arrays: Mapping[str, AnyArray], start: int, stop: int, name: str) -> list[str] | None:
    """Decode the strings of the rows [start, stop); None if there are none. Raises ShardError if they are damaged."""
    if "tokens" not in arrays:
        return None
    tokens = arrays["tokens"]
    try:
        if "tokens_offsets" not in arrays:
            asked = np.ascontiguousarray(tokens[start:stop])
            if asked.size and int(asked.view(np.uint32).max()) > sys.maxunicode:  # numpy would make such strings
                raise ValueError("no Unicode")
            fixed: list[str] = asked.tolist()
            return fixed
        offsets: list[int] = arrays["tokens_offsets"][start : stop + 1].tolist()
        if not 0 <= offsets[0] <= offsets[-1] <= len(tokens) or any(a > b for a, b in pairwise(offsets)):
            raise ValueError("tokens_offsets do not rise within the tokens")
        return [tokens[a:b].tobytes().decode("utf-8", "surrogatepass") for a, b in pairwise(offsets)]
    except ValueError as exc:
        raise ShardError(f"{name}: its tokens are damaged ({exc}); encode its shard again") from exc
