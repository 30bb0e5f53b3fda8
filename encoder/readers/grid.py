"""An array that a library reads by boxes, chunk by chunk: HDF5 and zarr. It behaves as an `Array` in a file does.

    rows [start, stop) -> boxes of the leading axes -> blocks of whole chunks -> the library -> one batch

The last block is kept, so that rows which are read in order are decoded once. Memory is bounded by the batch and by
the block; a chunk that is larger than MAX_CHUNK_BYTES is refused before it is decoded.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from encoder.arrays import AnyArray
from encoder.errors import ShardError
from encoder.readers.arrays import MAX_DIMS, ON_DISK, Array, c_strides

if TYPE_CHECKING:
    import torch

MAX_CHUNK_BYTES = 1 << 29
_BLOCK_BYTES = 1 << 27
Box = tuple[slice, ...]


class Blocks:
    """Reads boxes of one array through `fetch`, aligned to its chunks, and keeps the last block that was read.

    `fetch` gives a box of all axes as the library decodes it. What the library raises is told as a ShardError.
    """

    def __init__(
        self,
        path: Path,
        what: str,
        shape: Sequence[int],
        chunks: Sequence[int],
        dtype: str,
        fetch: Callable[[Box], AnyArray],
    ) -> None:
        self.path, self.what, self._shape, self._chunks = path, what, tuple(shape), tuple(chunks)
        self._dtype, self._fetch = ON_DISK[dtype], fetch
        self._lock = threading.Lock()
        self._held: tuple[Box, AnyArray] | None = None

    def read(self, box: Box) -> AnyArray:
        """Return the numbers of the box, one slice for each axis, in the dtype on disk."""
        block = tuple(
            slice(one.start // n * n, min(size, -(-one.stop // n) * n))
            for one, n, size in zip(box, self._chunks, self._shape, strict=True)
        )
        if math.prod(one.stop - one.start for one in block) * self._dtype.itemsize > _BLOCK_BYTES:
            return self._decoded(box)
        with self._lock:
            if self._held is None or self._held[0] != block:
                self._held = None
                self._held = block, self._decoded(block)
            whole = self._held[1]
        return whole[tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(box, block, strict=True))]

    def _decoded(self, box: Box) -> AnyArray:
        try:
            found = np.asarray(self._fetch(box))
        except MemoryError:
            raise
        except Exception as exc:  # each codec has errors of its own
            why = (str(exc).splitlines() or [type(exc).__name__])[0][:200]
            raise ShardError(
                f"{self.path}: {self.what} cannot be decoded ({why}): damaged, or a codec that is not installed"
            ) from exc
        wanted = tuple(one.stop - one.start for one in box)
        if found.shape != wanted:
            raise ShardError(f"{self.path}: {self.what} gave {list(found.shape)} for {list(wanted)}: damaged")
        if found.dtype.kind == "V":
            found = found.view("<i2")
        return np.ascontiguousarray(found.astype(self._dtype, copy=False))


@dataclass(frozen=True, slots=True)
class GridArray(Array):
    """An array behind `blocks`. `source_axes` has the file's axis of each axis here, None for one of size 1 more.

    `fixed` are the file's axes of which one place is taken. A row that is all `fill` was never written.
    """

    blocks: Blocks = field(kw_only=True)
    source_axes: tuple[int | None, ...] = field(kw_only=True)
    fixed: tuple[tuple[int, int], ...] = field(default=(), kw_only=True)
    fill: float | None = field(default=None, kw_only=True)

    def permuted(self, order: Sequence[int]) -> GridArray:
        """Return the array with its axes in another order."""
        shape = tuple(self.shape[i] for i in order)
        return self._with(shape, tuple(self.source_axes[i] for i in order), self.fixed)

    def taken(self, index: int) -> GridArray:
        """Return the slice `index` of the first axis."""
        axis = self.source_axes[0]
        fixed = self.fixed if axis is None else (*self.fixed, (axis, index))
        return self._with(self.shape[1:], self.source_axes[1:], fixed)

    def with_axis(self, at: int) -> GridArray:
        """Return the array with one more axis, of size 1, before the axis `at`."""
        axes = (*self.source_axes[:at], None, *self.source_axes[at:])
        return self._with((*self.shape[:at], 1, *self.shape[at:]), axes, self.fixed)

    def _with(
        self, shape: tuple[int, ...], axes: tuple[int | None, ...], fixed: tuple[tuple[int, int], ...]
    ) -> GridArray:
        return replace(self, shape=shape, strides=c_strides(shape), source_axes=axes, fixed=fixed)

    def read_into(self, rows: AnyArray, start: int) -> None:
        """Fill `rows`, C-contiguous and of the dtype on disk, with the rows from `start` on."""
        if rows.size == 0:
            return
        n_lead, at = len(self.shape) - self.row_dims, 0
        for box in boxes(self.lead, start, start + len(rows)):
            part = self._part((*box, *(slice(0, n) for n in self.shape[n_lead:]))).reshape(-1, self.width)
            rows[at : at + len(part)] = part
            at += len(part)
        if self.fill is not None and self.is_float:
            same = np.isnan(rows) if math.isnan(self.fill) else rows == np.asarray(self.fill, rows.dtype)
            unwritten = same.all(axis=1)
            if unwritten.any():
                row = start + int(np.argmax(unwritten))
                raise ShardError(
                    f"{self.path}: row {row:,} of {self.blocks.what} was never written: its chunk is missing, as of an"
                    f" incomplete copy or run; or a writer left out chunks of zeros: write them too"
                )

    def _part(self, box: Box) -> AnyArray:
        """Return the numbers of a box of the axes here."""
        at = {axis: slice(index, index + 1) for axis, index in self.fixed}
        at |= {axis: one for axis, one in zip(self.source_axes, box, strict=True) if axis is not None}
        found = self.blocks.read(tuple(at[axis] for axis in sorted(at)))
        here = [axis for axis in self.source_axes if axis is not None]
        taken = [axis for axis, _ in self.fixed]
        return found.transpose([*here, *taken])  # axes of size 1 may stand anywhere

    def _items(self, start: int = 0, stop: int | None = None) -> torch.Tensor:
        items = replace(self.with_axis(len(self.shape)), row_dims=1)
        return items.read(start, items.n_rows if stop is None else stop)[:, 0]


def boxes(lead: Sequence[int], start: int, stop: int) -> Iterator[Box]:
    """Yield the boxes that are rows [start, stop) of axes flattened in C order, in that order."""
    if start >= stop:
        return
    if len(lead) < 2:
        yield (slice(start, stop),) if lead else ()
        return
    inner = math.prod(lead[1:])
    first, last = start // inner, stop // inner
    if first == last:
        yield from ((slice(first, first + 1), *rest) for rest in boxes(lead[1:], start % inner, stop % inner))
        return
    if start % inner:
        yield from ((slice(first, first + 1), *rest) for rest in boxes(lead[1:], start % inner, inner))
        first += 1
    if first < last:
        yield (slice(first, last), *(slice(0, n) for n in lead[1:]))
    if stop % inner:
        yield from ((slice(last, last + 1), *rest) for rest in boxes(lead[1:], 0, stop % inner))


def grid_array(
    path: Path,
    what: str,
    shape: Sequence[int],
    chunks: Sequence[int],
    dtype: np.dtype[np.generic],
    fetch: Callable[[Box], AnyArray],
    fill: float | None = None,
) -> GridArray | None:
    """Make an array of what a library says of it; None for a dtype that cannot be read.

    Raises: ShardError for a shape or a chunk that is refused.
    """
    name = "bfloat16" if dtype.kind == "V" and dtype.itemsize == 2 and dtype.names is None else dtype.name
    if name not in ON_DISK:
        return None
    if len(shape) > MAX_DIMS or any(not 0 <= n <= 1 << 62 for n in shape) or math.prod(shape) > 1 << 62:
        raise ShardError(f"{path}: {what} has shape {str(list(shape))[:80]}: a false header; copy or write it again")
    n_bytes = math.prod(chunks) * ON_DISK[name].itemsize
    if len(chunks) != len(shape) or any(n < 1 for n in chunks) or n_bytes > MAX_CHUNK_BYTES:
        raise ShardError(
            f"{path}: {what} has chunks {str(list(chunks))[:80]}, {n_bytes:,} bytes each; write it again with chunks of"
            f" at most {MAX_CHUNK_BYTES:,}"
        )
    sizes = tuple(int(n) for n in shape)
    blocks = Blocks(path, what, sizes, chunks, name, fetch)
    axes = tuple(range(len(sizes)))
    return GridArray(path, 0, sizes, c_strides(sizes), name, blocks=blocks, source_axes=axes, fill=fill)
