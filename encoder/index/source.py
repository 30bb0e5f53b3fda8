"""The rows of all shards, in order, a block at a time, read into memory that is there already."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from encoder.arrays import F32, I32, I64, AnyArray, Bool
from encoder.errors import EncoderError, ShardError
from encoder.file.feature_file import FeatureFile, stamp_of
from encoder.stores.object_path import ObjectFile, ObjectPath

BLOCK_ROWS = 1 << 16


@dataclass(frozen=True, slots=True)
class Block:
    """Rows [first_row, first_row + n_rows) of a shard: bounds int64 [n_rows + 1].

    `said` is their `row_document`, int64 [n_rows], and `counts` bool [n_rows]; None where the shard has no such array.
    """

    file: FeatureFile
    shard: int
    opened: BinaryIO
    first_row: int
    bounds: I64
    said: I64 | None
    counts: Bool | None

    @property
    def n_rows(self) -> int:
        return len(self.bounds) - 1

    @property
    def nnz(self) -> int:
        return int(self.bounds[-1] - self.bounds[0])

    def read(self, columns: I32, values: F32) -> None:
        """Read the entries: columns int32 [nnz], values float32 [nnz]."""
        start = int(self.bounds[0])
        _read(self.file, self.opened, "indices", start, columns)
        if self.file.members["data"].dtype == "<f4":
            _read(self.file, self.opened, "data", start, values)
        else:
            narrow = np.empty(len(values), "<f2")
            _read(self.file, self.opened, "data", start, narrow)
            values[:] = narrow


def blocks(files: list[FeatureFile], max_entries: int) -> Iterator[Block]:
    """Yield all rows, in blocks of at most BLOCK_ROWS rows and, but for a longer row, `max_entries` entries.

    Raises: ShardError if a shard's bounds are damaged or it ends early, EncoderError if it cannot be read or is another
    file than the one that was opened.
    """
    for shard, file in enumerate(files):
        try:
            opened: BinaryIO = file.path.open("rb", buffering=0)
        except OSError as exc:
            raise EncoderError(f"{file.path}: cannot be opened any more: {exc.strerror}") from exc
        with opened:
            if stamp_of(opened) != file.stamp:
                raise EncoderError(f"{file.path}: was replaced since the folder was opened; start again")
            yield from _of(file, shard, opened, max_entries)
        if isinstance(file.path, ObjectPath):
            file.path.tree.drop(file.path.address.key)


def _of(file: FeatureFile, shard: int, opened: BinaryIO, max_entries: int) -> Iterator[Block]:
    n_rows, width = file.shape
    before = 0
    for start in range(0, n_rows, BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, n_rows)
        bounds = np.empty(stop - start + 1, "<i8")
        _read(file, opened, "indptr", start, bounds)
        lengths = np.diff(bounds)
        is_whole = stop < n_rows or bounds[-1] == file.nnz
        if bounds[0] != before or not is_whole or (lengths < 0).any() or bounds[-1] > file.nnz:
            raise ShardError(f"{file.path}: indptr does not rise from 0 to {file.nnz}; encode its shard again")
        if lengths.max() > width:
            raise ShardError(f"{file.path}: has a row of {lengths.max():,} values, width {width:,}; encode it again")
        before = bounds[-1]
        said, counts = (_rows(file, opened, name, start, stop) for name in ("row_document", "row_mask"))
        at = 0
        while at < stop - start:
            end = int(np.searchsorted(bounds, bounds[at] + max_entries, side="right")) - 1
            end = max(end, at + 1)
            of_rows = (None if array is None else array[at:end] for array in (said, counts))
            yield Block(file, shard, opened, start + at, bounds[at : end + 1], *of_rows)
            at = end


def _rows(file: FeatureFile, opened: BinaryIO, name: str, start: int, stop: int) -> AnyArray | None:
    """Read an array's part of the rows [start, stop), None if the file has no such array. Bools are 0 or 1."""
    if name not in file.members:
        return None
    is_bool = file.members[name].dtype == np.bool_
    found = np.empty(stop - start, np.uint8 if is_bool else file.members[name].dtype)
    _read(file, opened, name, start, found)
    return found != 0 if is_bool else found


def _read(file: FeatureFile, opened: BinaryIO, name: str, start: int, into: AnyArray) -> None:
    """Fill `into` from the array `name`, from its element `start` on."""
    offset = file.members[name].offset + start * into.itemsize
    try:
        if isinstance(opened, ObjectFile):
            opened.ranges.fill(memoryview(into.view(np.uint8).data), offset)
        else:
            read_fully(opened.fileno(), into, offset, file.path)
    except OSError as exc:
        raise EncoderError(f"{file.path}: cannot be read: {exc.strerror}") from exc


def read_fully(descriptor: int, into: AnyArray, offset: int, path: Path) -> None:
    """Fill a contiguous array from a file. Raises: ShardError if the file ends before, OSError."""
    left = into.view(np.uint8).data
    while left:
        n = os.preadv(descriptor, [left], offset)
        if n == 0:
            raise ShardError(f"{path}: ends at byte {offset:,}, before its arrays do; encode its shard again")
        left, offset = left[n:], offset + n
