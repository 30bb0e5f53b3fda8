"""One features file, opened: headers first, its arrays when they are needed.

`open_file` reads a few kilobytes and checks every offset and size against the file. `FeatureFile.load` maps it (or
reads it, if that is cheaper) and gives its arrays. What the arrays say is checked where it is used: a row's bounds and
columns when the row is taken, so that one row of a huge file costs one row.
"""

from __future__ import annotations

import json
import mmap
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from encoder.arrays import F32, I32, I64, U8, AnyArray, Bool
from encoder.errors import EncoderError, ShardError
from encoder.file import token_arrays
from encoder.file.npz import Member, find_members
from encoder.file.range_array import RangeArray
from encoder.rows import reasons_in
from encoder.stores.object_path import ObjectFile, ObjectPath, number_of, pread

if TYPE_CHECKING:
    from encoder.shard import Tokens


SMALL_BYTES = 1 << 20
"""A file up to this size is read, not mapped: a map costs a descriptor for as long as anything refers to it."""
_ARRAYS = ("indptr", "indices", "data")
_MAX_META_BYTES = 1 << 24
MAX_OPENING = 16


@dataclass(frozen=True, slots=True)
class FeatureFile:
    """What the headers say. `stamp` is device, inode, size and mtime: which file it was."""

    path: Path
    shape: tuple[int, int]
    nnz: int
    meta: dict[str, Any]
    members: Mapping[str, Member]
    stamp: tuple[int, ...]

    def load(self) -> LoadedFile:
        """Map the file, or make arrays of the object that are read by ranges.

        Raises: EncoderError if it is no longer the file that was opened.
        """
        with self.path.open("rb") as file:
            if stamp_of(file) != self.stamp:
                raise EncoderError(f"{self.path}: was replaced since the folder was opened; open it again")
            if isinstance(file, ObjectFile):
                ranges = file.path.tree.small_ranges(file.entry)
                of_ranges = {name: RangeArray(ranges, member) for name, member in self.members.items()}
                return LoadedFile(self, cast(dict[str, AnyArray], of_ranges))
            buffer: bytes | mmap.mmap
            if self.stamp[2] <= SMALL_BYTES:
                buffer = file.read()
            elif sys.version_info >= (3, 13):
                buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ, trackfd=False)
            else:
                buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return LoadedFile(self, {name: member.of(buffer) for name, member in self.members.items()})


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """The arrays of a file, read-only views of its map; of an object `RangeArray`s, which stand for them."""

    file: FeatureFile
    arrays: dict[str, AnyArray]

    def gather(self, rows: I64) -> tuple[I64, I32, F32]:
        """Copy `rows` (int64, within the file) -> their lengths int64, columns int32, values float32.

        Raises: ShardError if these rows' bounds or columns are damaged.
        """
        indptr, indices, data = (self.arrays[name] for name in _ARRAYS)
        starts, stops = indptr[rows], indptr[rows + 1]
        if ((starts < 0) | (starts > stops) | (stops > len(indices))).any():
            raise ShardError(f"{self.file.path}: indptr does not rise from 0 to {len(indices)}; encode its shard again")
        lengths = stops - starts
        at: slice | I64
        if len(rows) and (np.diff(rows) == 1).all():
            at = slice(int(starts[0]), int(stops[-1]))
        else:
            at = np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
        # A slice is copied too: a view would keep the file mapped, and with it a descriptor.
        return lengths, self._within(np.array(indices[at])), np.array(data[at], np.float32)

    def whole(self) -> tuple[I64, I32, F32]:
        """Return indptr, indices and data without a copy, safe to hand to scipy; float16 values become float32.

        Raises: ShardError if bounds or columns are damaged.
        """
        indptr, indices, data = (np.asarray(self.arrays[name]) for name in _ARRAYS)
        if indptr[0] != 0 or indptr[-1] != len(indices) or (indptr[1:] < indptr[:-1]).any():
            raise ShardError(f"{self.file.path}: indptr does not rise from 0 to {len(indices)}; encode its shard again")
        return indptr, self._within(indices), data.astype(np.float32, copy=False)

    def _within(self, columns: I32) -> I32:
        # A column outside the width would make scipy write outside its memory.
        width = self.file.shape[1]
        if columns.size and int(columns.view(np.uint32).max()) >= width:
            raise ShardError(f"{self.file.path}: has columns outside 0..{width - 1}; encode its shard again")
        return columns

    def counts(self, start: int, stop: int) -> Bool:
        """Say which of the rows [start, stop) count: bool [stop - start]."""
        mask = self.arrays.get("row_mask")
        if mask is None:
            return np.ones(stop - start, np.bool_)
        counts: Bool = mask[start:stop].view(np.uint8) != 0  # a damaged file's bools may be other numbers than 0 and 1
        return counts

    def reasons(self, start: int, stop: int) -> U8:
        """Say why rows do not count: uint8 [stop - start], numbers of `encoder.rows.REASONS`, 0 for rows that do."""
        row_reason = self.arrays.get("row_reason")
        return reasons_in(self.counts(start, stop), None if row_reason is None else row_reason[start:stop])

    def tokens(self, start: int, stop: int) -> Tokens:
        """Return what the file says of the rows [start, stop); `sections` are always those of the whole shard."""
        from encoder.shard import Tokens

        try:
            sections = {str(name): (int(a), int(b)) for name, (a, b) in self.file.meta.get("sections", {}).items()}
        except (AttributeError, TypeError, ValueError) as exc:
            raise ShardError(f"{self.file.path}: the sections in its meta are damaged") from exc
        known = {name: self.arrays[name][start:stop] for name in token_arrays.DTYPES if name in self.arrays}
        texts = token_arrays.texts_of(self.arrays, start, stop, str(self.file.path))
        return Tokens(texts=texts, sections=sections, **known)


def open_files(paths: Sequence[Path]) -> list[FeatureFile]:
    """Open files, as `open_file` does: objects many at a time, as each costs a few requests."""
    if not any(isinstance(path, ObjectPath) for path in paths):
        return [open_file(path) for path in paths]
    with ThreadPoolExecutor(MAX_OPENING, "open") as pool:
        return list(pool.map(open_file, paths))


def open_file(path: Path) -> FeatureFile:
    """Read the headers and `meta`; those of an object once, for as long as it is the same.

    Raises: EncoderError, in one line, if it is not a whole features file; OSError if there is none.
    """
    if isinstance(path, ObjectPath):
        opened = path.tree.once("features", path.known, lambda: _open(path))
        path.tree.drop(path.address.key)
        return opened
    return _open(path)


def _open(path: Path) -> FeatureFile:

    def refuse(why: str) -> EncoderError:
        return EncoderError(f"{path}: {why}; it is not a features file of sae-encode, or is damaged")

    with path.open("rb") as file:
        stamp = stamp_of(file)
        found = find_members(path, file, ("shape", "meta", *_ARRAYS, *token_arrays.NAMES))
        if missing := [name for name in ("shape", "meta", *_ARRAYS) if name not in found]:
            raise refuse(f"has no {' and no '.join(missing)}")
        shape_at, meta_at = found.pop("shape"), found.pop("meta")
        if shape_at.dtype != "<i8" or shape_at.shape != (2,) or meta_at.dtype != "|u1" or len(meta_at.shape) != 1:
            raise refuse("its shape or meta has another dtype")
        if meta_at.shape[0] > _MAX_META_BYTES:
            raise refuse(f"its meta has {meta_at.shape[0]:,} bytes, more than {_MAX_META_BYTES:,}")
        file.seek(shape_at.offset)
        rows, width = (int(n) for n in np.frombuffer(file.read(16), "<i8"))
        file.seek(meta_at.offset)
        try:
            meta = json.loads(file.read(meta_at.shape[0]))
        except (ValueError, RecursionError) as exc:
            raise refuse("its meta is not JSON") from exc
    if not isinstance(meta, dict):
        raise refuse("its meta is not a JSON object")
    indptr, indices, data = (found[name] for name in _ARRAYS)
    if not (rows >= 0 and 0 <= width < 1 << 31 and indptr.shape == (rows + 1,) and indptr.dtype == "<i8"):
        raise refuse(f"its indptr is {indptr.dtype} {list(indptr.shape)} for a shape of [{rows}, {width}]")
    if indices.dtype != "<i4" or len(indices.shape) != 1 or data.shape != indices.shape:
        raise refuse(f"has {indices.dtype} {list(indices.shape)} indices and {list(data.shape)} values")
    if data.dtype not in ("<f4", "<f2"):
        raise refuse(f"its values are {data.dtype}")
    for name in token_arrays.NAMES:
        member = found.get(name)
        if member and not token_arrays.fits(name, member.dtype, member.shape, rows, "tokens_offsets" in found):
            raise refuse(f"its {name} is {member.dtype} {list(member.shape)} for {rows} rows")
    return FeatureFile(path, (rows, width), indices.shape[0], meta, found, stamp)


def stamp_of(file: Any) -> tuple[int, ...]:
    """Say which file is open: device, inode, size and mtime; of an object, a number for its tag stands for inode."""
    if isinstance(file, ObjectFile):
        return 0, number_of(file.entry.etag), file.entry.size, 0
    stat = os.fstat(file if isinstance(file, int) else file.fileno())
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


def meta_of(path: Path) -> dict[str, Any]:
    """Return the `meta` of a features file; of an object no more is looked at. Raises: as `open_file` does."""
    if not isinstance(path, ObjectPath):
        return open_file(path).meta
    meta = path.tree.once("meta", path.known, lambda: _meta_alone(path))
    path.tree.drop(path.address.key)
    return meta


def _meta_alone(path: ObjectPath) -> dict[str, Any]:
    with path.open("rb") as file:
        found = find_members(path, file, ("meta",))
        member = found.get("meta")
        if member is None or member.dtype != "|u1" or len(member.shape) != 1 or member.shape[0] > _MAX_META_BYTES:
            raise EncoderError(f"{path}: has no meta; it is not a features file of sae-encode, or is damaged")
        try:
            meta = json.loads(pread(file, member.shape[0], member.offset))
        except (ValueError, RecursionError) as exc:
            raise EncoderError(f"{path}: its meta is not JSON; it is damaged") from exc
    if not isinstance(meta, dict):
        raise EncoderError(f"{path}: its meta is not a JSON object; it is damaged")
    return meta
