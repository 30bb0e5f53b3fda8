"""An array of an object in a store: what is taken of it is read by ranges, and comes as an ordinary array.

    array[a:b], array[rows], array[mask], array[3]      the parts that are asked for, of several places at once
    array[i, a:b], array[i]                             of an array of two axes
    np.asarray(array), array.max(), len(array)          the whole of it, where that is what is meant

It stands where a view of a mapped file stands otherwise.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from encoder.arrays import I64, AnyArray
from encoder.file.npz import Member
from encoder.stores.ranges import PIECE_BYTES, Ranges

KEPT_BYTES = 1 << 20
"""An array up to this size stays in memory once all of it was read, where nothing else is said."""
GAP_BYTES = 1 << 18
"""Places that are closer than this are read together."""


class RangeArray:
    """An array that `ranges` has at the place of `member`."""

    def __init__(self, ranges: Ranges, member: Member, kept_bytes: int = KEPT_BYTES) -> None:
        self._ranges, self._member, self._kept_bytes = ranges, member, kept_bytes
        self.dtype, self.shape = member.dtype, member.shape
        self._whole: AnyArray | None = None

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> AnyArray:
        whole = self._whole
        if whole is None:
            whole = self._read(0, self.size).reshape(self.shape)
            whole.flags.writeable = False
            if self.nbytes <= self._kept_bytes:
                self._whole = whole
        return whole if dtype is None or dtype == whole.dtype else whole.astype(dtype)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(np.asarray(self), name)

    def view(self, dtype: Any) -> RangeArray:
        """See the same bytes as another dtype of the same size."""
        seen = np.dtype(dtype)
        if seen.itemsize != self.dtype.itemsize:
            raise ValueError(f"a view of {self.dtype} as {seen}")
        return RangeArray(self._ranges, Member(self._member.offset, seen, self.shape))

    def __getitem__(self, at: Any) -> Any:
        if self._whole is not None:
            return self._whole[at]
        if isinstance(at, tuple) and len(at) == self.ndim > 1 and isinstance(at[0], int | np.integer):
            return self._row(int(at[0]))[at[1:]]
        if isinstance(at, int | np.integer):
            return self._row(int(at)) if self.ndim > 1 else self._read(self._number(int(at)), 1)[0]
        if isinstance(at, slice) and self.ndim == 1:
            start, stop, step = at.indices(len(self))
            if step == 1:
                return self._read(start, max(0, stop - start))
        if self.ndim == 1 and isinstance(at, list | np.ndarray):
            places = np.asarray(at)
            if places.dtype == np.bool_ and len(places) == len(self):
                return self._gather(np.flatnonzero(places))
            if places.dtype.kind in "iu" and places.ndim == 1:
                return self._gather(places.astype(np.int64))
        return np.asarray(self)[at]

    def _number(self, at: int) -> int:
        if not -len(self) <= at < len(self):
            raise IndexError(f"element {at} of {len(self)}")
        return at % len(self)

    def _row(self, at: int) -> AnyArray:
        row = self.shape[1:]
        return self._read(self._number(at) * math.prod(row), math.prod(row)).reshape(row)

    def _gather(self, places: I64) -> AnyArray:
        """Read elements at places in any order: those that lie near each other together."""
        out: AnyArray = np.empty(len(places), self.dtype)
        if not len(places):
            return out
        if places.min() < -len(self) or places.max() >= len(self):
            raise IndexError(f"an element outside the {len(self)}")
        places = np.where(places < 0, places + len(self), places)
        order = np.argsort(places, kind="stable")
        rising = places[order]
        edges = np.flatnonzero(np.diff(rising) * self.dtype.itemsize > GAP_BYTES) + 1
        for group in np.split(np.arange(len(rising)), edges):
            first = int(rising[group[0]])
            run = self._read(first, int(rising[group[-1]]) + 1 - first)
            out[order[group]] = run[rising[group] - first]
        return out

    def _read(self, start: int, n: int) -> AnyArray:
        offset, n_bytes = self._member.offset + start * self.dtype.itemsize, n * self.dtype.itemsize
        if n_bytes <= PIECE_BYTES:
            return np.frombuffer(self._ranges.read(offset, n_bytes), self.dtype)
        read: AnyArray = np.empty(n, self.dtype)
        self._ranges.fill(memoryview(read.view(np.uint8).data), offset)
        return read
