"""An array inside a file: where its bytes are, not the bytes.

    file   |....offset|<-- shape, strides, dtype -->|....|

Every format comes down to this. Contiguous rows are read into fresh memory, so a file that is cut while it is read
gives an error, not SIGBUS, and resident memory is the batch's; other strides are gathered through a read-only map (a
private one, as `torch.load(mmap=True)` makes, is refused by Linux for files larger than memory).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from encoder.arrays import F64, I64, AnyArray
from encoder.errors import ShardError
from encoder.stores.fetched import keep_local
from encoder.stores.object_path import ObjectFile, ObjectPath

if TYPE_CHECKING:
    import torch

MAX_DIMS = 8
_SPAN_BYTES = 64 << 20
"""The most that is read of an object at once for rows that do not lie together."""
FLOATS = {"bfloat16": "<i2", "float16": "<f2", "float32": "<f4", "float64": "<f8"}
INTEGERS = {
    "int64": "<i8", "int32": "<i4", "int16": "<i2", "int8": "i1", "uint8": "u1", "uint16": "<u2", "uint32": "<u4",
    "bool": "u1",
}  # fmt: skip
ON_DISK = {name: np.dtype(code) for name, code in {**FLOATS, **INTEGERS}.items()}


@dataclass(frozen=True, slots=True)
class Array:
    """A [..., D] array in a file. Rows are flattened in C order; `row_dims` trailing dimensions make up a row.

    `strides` count elements; `swapped` says that the bytes of each element are in big-endian order. Made by
    `array_in_file`, which has checked it against the file.
    """

    path: Path
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str
    row_dims: int = 1
    swapped: bool = False

    @property
    def is_sequential(self) -> bool:
        """Whether rows are best read in order, from the first on."""
        return False

    @property
    def lead(self) -> tuple[int, ...]:
        return self.shape[: len(self.shape) - self.row_dims]

    @property
    def width(self) -> int:
        return math.prod(self.shape[len(self.shape) - self.row_dims :])

    @property
    def n_rows(self) -> int:
        return math.prod(self.lead)

    @property
    def is_float(self) -> bool:
        return self.dtype in FLOATS

    def permuted(self, order: Sequence[int]) -> Array:
        """Return the array with its axes in another order."""
        return replace(self, shape=tuple(self.shape[i] for i in order), strides=tuple(self.strides[i] for i in order))

    def taken(self, index: int) -> Array:
        """Return the slice `index` of the first axis."""
        offset = self.offset + index * self.strides[0] * ON_DISK[self.dtype].itemsize
        return replace(self, offset=offset, shape=self.shape[1:], strides=self.strides[1:])

    def with_axis(self, at: int) -> Array:
        """Return the array with one more axis, of size 1, before the axis `at`."""
        shape, strides = (*self.shape[:at], 1, *self.shape[at:]), (*self.strides[:at], 1, *self.strides[at:])
        return replace(self, shape=shape, strides=strides)

    def describe(self) -> str:
        return f"{self.dtype}{list(self.shape)}"

    def read(self, start: int, stop: int) -> torch.Tensor:
        """Read rows [start, stop) as [stop - start, width], in the dtype on disk, into memory of its own."""
        rows = np.empty((stop - start, self.width), ON_DISK[self.dtype])
        self.read_into(rows, start)
        return tensor_of(rows, self.dtype)

    def read_into(self, rows: AnyArray, start: int) -> None:
        """Fill `rows`, C-contiguous and of the dtype on disk, with the rows from `start` on."""
        stop = start + len(rows)
        try:
            if rows.size == 0:
                return
            if self.is_contiguous():
                self._fill(memoryview(rows.data).cast("B"), self.offset + start * self.width * rows.itemsize)
            else:
                self._gather(rows, start)
            if self.swapped:
                rows.byteswap(inplace=True)
        except (OSError, EOFError) as exc:
            raise ShardError(f"{self.path}: rows {start} to {stop} cannot be read: {exc}") from exc

    def integers(self, start: int = 0, stop: int | None = None) -> I64:
        """Read elements [start, stop) of the flattened array as int64."""
        return self._items(start, stop).numpy().astype(np.int64)

    def floats(self) -> F64:
        """Read all elements of the flattened array as float64."""
        return self._items().double().numpy()

    def _items(self, start: int = 0, stop: int | None = None) -> torch.Tensor:
        items = replace(self, shape=(*self.shape, 1), strides=(*self.strides, 1), row_dims=1)
        return items.read(start, items.n_rows if stop is None else stop)[:, 0]

    def is_contiguous(self) -> bool:
        wanted = c_strides(self.shape)
        return all(n == 1 or got == want for n, got, want in zip(self.shape, self.strides, wanted, strict=True))

    def _fill(self, out: memoryview, offset: int) -> None:
        with self.path.open("rb", buffering=0) as file:
            file.seek(offset)
            while out:
                n_bytes = file.readinto(out)
                if not n_bytes:
                    raise EOFError("the file was cut after it was opened")
                out = out[n_bytes:]

    def _gather(self, rows: AnyArray, start: int) -> None:
        if isinstance(self.path, ObjectPath):
            with self.path.open("rb") as file:
                if isinstance(file, ObjectFile) and self._row_bytes() <= _SPAN_BYTES:
                    self._gather_spans(file, rows, start)
                    return
        try:
            held = np.memmap(local_path_of(self.path), np.uint8, "r")
            byte_strides = [stride * rows.itemsize for stride in self.strides]
            view: AnyArray = np.ndarray(self.shape, rows.dtype, held.data, self.offset, byte_strides)
        except (ValueError, TypeError) as exc:
            raise EOFError("the file was cut after it was opened") from exc
        length, stop, at = self.lead[-1], start + len(rows), start
        while at < stop:  # one run of rows of the innermost dimension after the other, without a copy between
            outer, first = divmod(at, length)
            run = view[np.unravel_index(outer, self.lead[:-1])][first : first + stop - at]
            rows[at - start : at - start + len(run)] = run.reshape(len(run), self.width)
            at += len(run)

    def _row_bytes(self) -> int:
        """Return the length of the span in which a row's elements lie."""
        row = zip(self.shape[-self.row_dims :], self.strides[-self.row_dims :], strict=True)
        return (1 + sum((n - 1) * step for n, step in row)) * ON_DISK[self.dtype].itemsize

    def _gather_spans(self, file: ObjectFile, rows: AnyArray, start: int) -> None:
        """Read the spans in which the rows lie, and take the rows out of them."""
        n_lead = len(self.lead)
        itemsize, length, at = rows.itemsize, self.lead[-1], start
        step = self.strides[n_lead - 1] * itemsize
        inner = [stride * itemsize for stride in self.strides[n_lead:]]
        most = max(1, (_SPAN_BYTES - self._row_bytes()) // max(1, step))
        while at < start + len(rows):
            outer, first = divmod(at, length)
            index = [int(one) for one in np.unravel_index(outer, self.lead[:-1])] if n_lead > 1 else []
            n_rows = min(length - first, start + len(rows) - at, most)
            begin = self.offset + first * step
            begin += sum(one * stride * itemsize for one, stride in zip(index, self.strides, strict=False))
            span = bytearray((n_rows - 1) * step + self._row_bytes())
            file.ranges.fill(memoryview(span), begin)
            run: AnyArray = np.ndarray((n_rows, *self.shape[n_lead:]), rows.dtype, span, 0, [step, *inner])
            rows[at - start : at - start + n_rows] = run.reshape(n_rows, self.width)
            at += n_rows


def local_path_of(path: Path) -> Path:
    """Return the path of a file of this machine with these bytes: an object is brought here first."""
    return keep_local(path) if isinstance(path, ObjectPath) else path


def tensor_of(rows: AnyArray, dtype: str) -> torch.Tensor:
    """Share the rows' memory with a tensor, bfloat16 where they are its bits."""
    import torch  # in a second: nobody waits for it who only lists files

    tensor = torch.from_numpy(rows.reshape(-1)).reshape(rows.shape)  # numpy gives empty arrays strides of 0
    return tensor.view(torch.bfloat16) if dtype == "bfloat16" else tensor


def c_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Give the strides, in elements, of a C-contiguous array."""
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))


def array_in_file(
    path: Path,
    space: tuple[int, int],
    shape: Sequence[object],
    dtype: str,
    strides: Sequence[int] | None = None,
    *,
    what: str,
    skip: int = 0,
    swapped: bool = False,
) -> Array:
    """Check a header's claim against the bytes [begin, end) that it has, `space`, before anything is read.

    `skip` elements precede the first one. Raises ShardError for a shape, dtype or extent that the space does not hold.
    """
    begin, end = space
    if dtype not in ON_DISK:
        raise ShardError(f"{path}: {what} has dtype {dtype[:40]!r}; expected one of {', '.join(FLOATS)}")
    if len(shape) > MAX_DIMS or any(type(n) is not int or not 0 <= n <= 1 << 62 for n in shape):
        raise ShardError(
            f"{path}: {what} has shape {str(list(shape))[:80]}, expected at most {MAX_DIMS} sizes from 0 to"
            f" 2^62: a false header; copy or write the file again"
        )
    sizes = tuple(n for n in shape if isinstance(n, int))
    steps = c_strides(sizes) if strides is None else tuple(strides)
    itemsize = ON_DISK[dtype].itemsize
    n_items = math.prod(sizes)
    last = skip + sum((n - 1) * step for n, step in zip(sizes, steps, strict=True)) if n_items else 0
    negative = skip < 0 or any(step < 0 for step in steps)
    if negative or (n_items and (last + 1) * itemsize > end - begin):
        raise ShardError(
            f"{path}: {what} claims {dtype}{list(sizes)}, {n_items * itemsize} bytes, but the file has"
            f" {end - begin} bytes for it: truncated, or a false header; copy or write the file again"
        )
    if n_items * itemsize > end - begin:
        raise ShardError(
            f"{path}: {what} repeats {end - begin} bytes on disk to look like {list(sizes)} (an expanded view);"
            f" save `tensor.contiguous()` instead"
        )
    return Array(path, begin + skip * itemsize, sizes, steps, dtype, swapped=swapped)
