"""From checked arrays to a Shard: the tail that all formats share."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from encoder.arrays import I64
from encoder.errors import ShardError
from encoder.readers.arrays import ON_DISK, Array, tensor_of
from encoder.readers.axes import check_layers, like_rows, plain_rows, rows_of, takes_layers_beside_each_other
from encoder.readers.companions import mask_of, match
from encoder.readers.layer_axis import layer_of
from encoder.readers.source import Source
from encoder.shard import Shard, Tokens

if TYPE_CHECKING:
    import torch

Read = Callable[[int, int], "torch.Tensor"]


def shard_of(
    source: Source,
    array: Array,
    what: str,
    *,
    name: str = "",
    ids: Array | None = None,
    mask: Array | None = None,
    hook_name: str = "",
    notes: tuple[str, ...] = (),
    is_plain: bool = False,
    places: tuple[str, ...] = (),
) -> Shard:
    """Make a Shard of one array of the file, as it lies there.

    `what` calls the array in messages, `name` is the tensor's. `is_plain` says that the format has no axes but
    documents, tokens and d. `ids` and `mask`, if given, have one entry for each row. [document, token, d] gives each
    row's document and position; [token, d] does not say.
    """
    layer = None
    if not is_plain and takes_layers_beside_each_other(array, source):
        axes = ",".join("head" if axis == "layer" else axis for axis in source.axes)
        source = replace(source, select={**source.select, "axes": axes})
        notes = (*notes, "the layers of a token are beside each other in its row, as a crosscoder takes them")
    if "layer" in source.axes and len(source.axes) == len(array.shape) and not is_plain:
        check_layers(array, what, source)
        layer = layer_of(array.shape[source.axes.index("layer")], hook_name, source)
        hook_name, places, notes = layer.hook, layer.places, (*notes, layer.note)
    if is_plain:
        rows = plain_rows(array, what, source)
    else:
        number = 0 if layer is None else layer.number
        rows = rows_of(array, what, source, name=name, known=(ids, mask), layer_number=number)
    if source.axes:
        ids, mask = (None if one is None else like_rows(one, array.shape, source) for one in (ids, mask))
    match(source.path, rows, ids, "token ids")
    match(source.path, rows, mask, "mask", may_be_float=True)

    def tokens() -> Tokens:
        document, position = structure(rows.lead)
        return Tokens(
            token_ids=None if ids is None else ids.integers(),
            row_document=document,
            row_position=position,
            row_mask=None if mask is None else mask_of(source.path, mask),
        )

    made = finished(source, rows.n_rows, rows.width, rows.dtype, rows.read, tokens, hook_name, notes, places)
    return replace(made, is_interleaved=not rows.is_contiguous())


def finished(
    source: Source,
    n_rows: int,
    d_in: int,
    dtype: str,
    read: Read,
    tokens: Callable[[], Tokens] = Tokens,
    hook_name: str = "",
    notes: tuple[str, ...] = (),
    places: tuple[str, ...] = (),
) -> Shard:
    """Make the Shard: float64 becomes float32, and only rows that exist can be asked for."""

    def checked(start: int, stop: int) -> torch.Tensor:
        if not 0 <= start <= stop <= n_rows:
            raise IndexError(f"rows {start} to {stop} of {n_rows}")
        batch = read(start, stop)
        return _rounded(source, batch, start) if dtype == "float64" else batch

    if dtype == "float64":
        notes = (*notes, "float64 on disk, rounded to float32")
    return Shard(source.path, n_rows, d_in, dtype, checked, tokens, hook_name, notes, places)


def _rounded(source: Source, batch: torch.Tensor, start: int) -> torch.Tensor:
    rounded = batch.float()
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
