"""From checked arrays to a Shard: the tail that all formats share."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np
import torch

from encoder.arrays import I64
from encoder.errors import ShardError
from encoder.readers.arrays import ON_DISK, Array, tensor_of
from encoder.readers.source import Source
from encoder.shard import Shard, Tokens

Read = Callable[[int, int], torch.Tensor]


def shard_of(
    source: Source,
    rows: Array,
    *,
    ids: Array | None = None,
    mask: Array | None = None,
    hook_name: str = "",
    notes: tuple[str, ...] = (),
) -> Shard:
    """Make a Shard of one array; `ids` and `mask`, if given, have one entry per row, checked by `match`.

    [b, s, d] gives document b and position s; [n, d] does not say.
    """

    def tokens() -> Tokens:
        document, position = structure(rows.lead)
        return Tokens(
            token_ids=None if ids is None else ids.integers(),
            row_document=document,
            row_position=position,
            row_mask=None if mask is None else mask.integers() != 0,
        )

    match(source, rows, ids, "token ids")
    match(source, rows, mask, "mask")
    return finished(source, rows.n_rows, rows.width, rows.dtype, rows.read, tokens, hook_name, notes)


def finished(
    source: Source,
    n_rows: int,
    d_in: int,
    dtype: str,
    read: Read,
    tokens: Callable[[], Tokens] = Tokens,
    hook_name: str = "",
    notes: tuple[str, ...] = (),
) -> Shard:
    """Make the Shard: float64 becomes float32, and only rows that exist can be asked for."""

    def checked(start: int, stop: int) -> torch.Tensor:
        if not 0 <= start <= stop <= n_rows:
            raise IndexError(f"rows {start} to {stop} of {n_rows}")
        batch = read(start, stop)
        return _rounded(source, batch, start) if dtype == "float64" else batch

    if dtype == "float64":
        notes = (*notes, "float64 on disk, rounded to float32")
    return Shard(source.path, n_rows, d_in, dtype, checked, tokens, hook_name, notes)


def _rounded(source: Source, batch: torch.Tensor, start: int) -> torch.Tensor:
    rounded = batch.to(torch.float32)
    infinite = rounded.isinf()
    if infinite.any() and (beyond := (infinite & batch.isfinite()).any(dim=1)).any():
        row = int(beyond.nonzero()[0])
        largest = float(batch[row].abs().max())
        raise ShardError(f"{source.path}: row {start + row:,} holds {largest:.3g}, infinity in float32; scale it down")
    return rounded


def structure(lead: Sequence[int]) -> tuple[I64 | None, I64 | None]:
    """Give each row's document and position from the dimensions before the last; a single one does not say."""
    if len(lead) < 2:
        return None, None
    n_documents, length = math.prod(lead[:-1]), lead[-1]
    return np.repeat(np.arange(n_documents, dtype=np.int64), length), np.tile(np.arange(length), n_documents)


def match(source: Source, rows: Array, companion: Array | None, what: str) -> None:
    """Refuse token ids or a mask that are not integers, one for each row."""
    if companion is None:
        return
    if companion.is_float:
        raise ShardError(f"{source.path}: the {what} are {companion.describe()}, expected integers")
    if not fits(rows, companion):
        raise ShardError(
            f"{source.path}: the {what} are {companion.describe()} but the activations are {rows.describe()}:"
            f" {math.prod(companion.shape)} for {rows.n_rows} rows; written from different runs?"
        )


def fits(rows: Array, companion: Array) -> bool:
    """Say whether these are integers of the rows' own shape; dimensions of 1 do not count, and either may be flat."""
    shapes = _squeezed(companion.shape), _squeezed(rows.lead)
    is_flat = math.prod(companion.shape) == rows.n_rows and min(map(len, shapes)) < 2
    return not companion.is_float and (is_flat or shapes[0] == shapes[1])


def _squeezed(shape: Sequence[int]) -> list[int]:
    return [n for n in shape if n != 1]


def joined(arrays: Sequence[Array]) -> Read:
    """Read one array's rows after the other's as one; there is at least one, and all have one dtype and one width."""
    ends = list(accumulate(array.n_rows for array in arrays))
    dtype, width = arrays[0].dtype, arrays[0].width

    def read(start: int, stop: int) -> torch.Tensor:
        rows = np.empty((stop - start, width), ON_DISK[dtype])
        i, at = bisect_right(ends, start), start
        while at < stop:
            until = min(stop, ends[i])
            arrays[i].read_into(rows[at - start : until - start], at - ends[i] + arrays[i].n_rows)
            i, at = i + 1, until
        return tensor_of(rows, dtype)

    return read
