"""Runs: the rows of a stretch of the folder by feature, as many as fit into memory, one after the other on disk.

    run 0:  feature 0's rows | feature 1's | ... | feature F - 1's       and the same of the values, in another file
    run 1:  feature 0's rows | ...

Later runs have later rows, so a feature is its part of run 0, then its part of run 1, and so on. Merging reads, for a
range of features that fits into memory, one piece of each run; a feature that does not fit is copied run by run. So
each entry is written once and read once, in large pieces, however many there are and however wide the SAE.

The files have no name: whatever happens, they are gone with the process.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from encoder.arrays import F32, I32, I64, AnyArray
from encoder.index.loops import spread
from encoder.index.source import read_fully


@dataclass(frozen=True, slots=True)
class Part:
    """Entries of the features [start, stop), at bounds int64 [stop - start + 1]; valid until the next part.

    `is_last` unless the next part has more of the same, single feature.
    """

    start: int
    stop: int
    bounds: I64
    entries: AnyArray
    is_last: bool


class Spool:
    """A nameless file of one dtype, written at its end and read anywhere."""

    def __init__(self, folder: Path, dtype: Any) -> None:
        self.dtype = np.dtype(dtype)
        self.count = 0
        self._folder = folder
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed by `close`

    def close(self) -> None:
        self._file.close()

    def append(self, array: AnyArray) -> None:
        left = np.ascontiguousarray(array, self.dtype).reshape(-1).view(np.uint8).data
        while left:
            left = left[self._file.write(left) :]
        self.count += array.size

    def read(self, start: int, into: AnyArray) -> AnyArray:
        """Fill `into` with the elements from `start` on, and return it."""
        read_fully(self._file.fileno(), into, start * self.dtype.itemsize, self._folder)
        return into

    def parts(self, step: int = 1 << 17) -> Iterator[AnyArray]:
        """Yield all of it."""
        buffer = np.empty(step, self.dtype)
        for start in range(0, self.count, step):
            yield self.read(start, buffer[: min(step, self.count - start)])


class Runs:
    """All runs of a folder. `capacity` is the entries that a part may have."""

    def __init__(self, folder: Path, width: int, capacity: int) -> None:
        self._folder, self._width, self._capacity = folder, width, capacity
        self._firsts: list[tuple[int, int]] = []  # of each run: its first entry in the spools, its first row
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            self._rows, self._values, self._bounds = (Spool(self._folder, dtype) for dtype in ("<i4", "<f4", "<i8"))
            for spool in (self._rows, self._values, self._bounds):
                opened.callback(spool.close)
            self._cleanup = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def add(self, first_row: int, bounds: I64, rows: I32, values: F32) -> None:
        """Add a run: rows int32 [n] counted from `first_row`, values float32 [n], of the features at bounds [F + 1]."""
        self._firsts.append((self._rows.count, first_row))
        self._bounds.append(bounds)
        self._rows.append(rows)
        self._values.append(values)

    def rows(self, indptr: I64, ranges: list[tuple[int, int]], dtype: np.dtype[Any]) -> Iterator[Part]:
        """Yield the global rows of all features, range by range."""
        return self._merge(self._rows, indptr, ranges, dtype, is_rows=True)

    def values(self, indptr: I64, ranges: list[tuple[int, int]]) -> Iterator[Part]:
        """Yield the values of all features, float32, in the same parts as `rows`."""
        for part in self._merge(self._values, indptr, ranges, np.dtype("<i4"), is_rows=False):
            yield Part(part.start, part.stop, part.bounds, part.entries.view("<f4"), part.is_last)

    def _merge(
        self, spool: Spool, indptr: I64, ranges: list[tuple[int, int]], dtype: np.dtype[Any], *, is_rows: bool
    ) -> Iterator[Part]:
        """Values are moved as their bits, int32."""
        merged, piece = np.empty(self._capacity, dtype), np.empty(self._capacity, "<i4")
        for start, stop in ranges:
            total = int(indptr[stop] - indptr[start])
            if total <= self._capacity:
                bounds = indptr[start : stop + 1] - indptr[start]
                cursors = bounds[:-1].copy()
                for run in range(len(self._firsts)):
                    within, first = self._piece(run, start, stop)
                    spool.read(first, piece[: within[-1]])
                    spread(piece, within, self._firsts[run][1] * is_rows, cursors, merged)
                yield Part(start, stop, bounds, merged[:total], True)
                continue
            done = 0
            for run in range(len(self._firsts)):
                within, first = self._piece(run, start, stop)
                for at in range(0, int(within[-1]), self._capacity):
                    n = min(self._capacity, int(within[-1]) - at)
                    base = dtype.type(self._firsts[run][1] * is_rows)
                    np.add(spool.read(first + at, piece[:n]), base, out=merged[:n])
                    done += n
                    yield Part(start, stop, np.array([0, n], np.int64), merged[:n], done == total)

    def _piece(self, run: int, start: int, stop: int) -> tuple[I64, int]:
        """Return the features' bounds within the run's piece [start, stop), and the piece's place in the spools."""
        bounds = self._bounds.read(run * (self._width + 1) + start, np.empty(stop - start + 1, "<i8"))
        return bounds - bounds[0], self._firsts[run][0] + int(bounds[0])


def split(indptr: I64, capacity: int, max_features: int) -> list[tuple[int, int]]:
    """Split the features into ranges [start, stop) of at most `capacity` entries, if they are several, each."""
    ranges, start, width = [], 0, len(indptr) - 1
    while start < width:
        stop = int(np.searchsorted(indptr, indptr[start] + capacity, side="right")) - 1
        stop = min(max(stop, start + 1), start + max_features, width)
        ranges.append((start, stop))
        start = stop
    return ranges
