"""A folder of features as it stood at one moment: its rows, its documents, and sums over some of them.

A question costs what its answer is made of: rows are read as they are needed, from memory-mapped files. Sums over
documents go through many rows, so they are made in blocks of bounded size and kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, TypeVar

import numpy as np
from scipy.sparse import csr_matrix

from dashboard.model.cache import Cache
from dashboard.model.documents import Document, Documents
from encoder.arrays import F32, F64, I64, AnyArray
from encoder.file.documents import document_starts
from encoder.file.folder import Features
from encoder.index import FeatureIndex
from encoder.index.format import State

T = TypeVar("T")
Ranges = tuple[tuple[int, int], ...]
"""Numbers of documents, or of rows, as [start, stop) in rising order."""

BLOCK_NNZ = 1 << 21
KEPT_SUMS = 64


@dataclass(frozen=True, slots=True)
class Sums:
    """Over some rows, for each feature that fires on one: on how many, the sum of its values, the largest.

    `columns` rise; `count` int64, `total` float64, `largest` float32 have an entry for each of them.
    """

    n_rows: int
    columns: I64
    count: I64
    total: F64
    largest: F32

    def dense(self, name: str, d_sae: int) -> AnyArray:
        """Spread one of the arrays out over all features."""
        values = getattr(self, name)
        spread = np.zeros(d_sae, values.dtype)
        spread[self.columns] = values
        return spread


class Corpus:
    """Features with their documents, and their index by feature if it is of these. Safe for several threads."""

    def __init__(self, features: Features, of_shards: Cache, index: FeatureIndex | None = None) -> None:
        self.features = features
        self.index_state: State = "missing" if index is None else index.state_for(features)
        self.index = index if self.index_state == "ready" else None
        self.kept = Cache(KEPT_SUMS)
        self._of_shards = of_shards

    @property
    def n_rows(self) -> int:
        return self.features.shape[0]

    @property
    def nnz(self) -> int:
        return self.features.nnz

    @property
    def shards(self) -> Sequence[int]:
        """The numbers of the shards, rising."""
        return range(self.features.n_shards)

    @property
    def d_sae(self) -> int:
        return self.features.shape[1]

    @cached_property
    def documents(self) -> Documents:
        if self.index is not None:
            return Documents(self.features, self.index.documents)
        starts = [np.zeros(0, np.int64)]
        for i in range(self.features.n_shards):
            starts.append(self.features.first_rows[i] + self.of_shard(i, "starts", partial(self._starts, i)))
        return Documents(self.features, np.concatenate([*starts, [self.n_rows]]).astype(np.int64))

    def _starts(self, i: int) -> I64:
        first, stop = self.features.first_rows[i : i + 2]
        return document_starts(self.features.array(i, "row_document"), int(stop - first))

    def of_shard(self, shard: int, what: str, make: Callable[[], T]) -> T:
        """Return what `make` finds out about a shard; kept for as long as the file is the same."""
        file = self.features.files[shard]
        return self._of_shards.get((what, file.path), make, file.stamp)

    def known_of_shard(self, shard: int, what: str) -> Any:
        """Return what `of_shard` has found out before, None if it has not."""
        file = self.features.files[shard]
        return self._of_shards.peek((what, file.path), file.stamp)

    def name(self, shard: int) -> str:
        """Return the shard's name, without folder and ending."""
        return self.features.paths[shard].stem

    def indptr(self, first_row: int, n_rows: int) -> I64:
        """Return the bounds [n_rows + 1] of rows that are all of one shard, counted within the shard."""
        if n_rows == 0:
            return np.zeros(1, np.int64)
        shard, start = self.features.locate(first_row)
        indptr = self.features.array(shard, "indptr")
        assert indptr is not None  # a features file has one
        return indptr[start : start + n_rows + 1]

    def rows(self, first_row: int, stop_row: int) -> csr_matrix:
        return self.features[slice(first_row, stop_row)]

    def blocks(self, document: Document) -> Iterator[csr_matrix]:
        """Yield a document's rows in blocks of about BLOCK_NNZ stored values."""
        yield from self._blocks(document.first_row, document.stop_row)

    def _blocks(self, first_row: int, stop_row: int) -> Iterator[csr_matrix]:
        at = first_row
        while at < stop_row:
            shard, _ = self.features.locate(at)
            end = min(stop_row, int(self.features.first_rows[shard + 1]))
            indptr = self.indptr(at, end - at)
            n = max(1, int(np.searchsorted(indptr, indptr[0] + BLOCK_NNZ, side="right")) - 1)
            yield self.rows(at, at + n)
            at += n

    def sums(self, documents: Ranges) -> Sums:
        """Sum up over the rows of `documents`; kept for the next request."""
        return self.kept.get(("sums", documents), lambda: self._sum(documents))

    def counts(self, documents: Ranges) -> tuple[int, I64]:
        """Return how many rows `documents` have, and on how many of them each feature fires: int64 [F].

        Where they have more than half of all rows, the counts of the others are taken from the counts of all. The index
        knows the counts of all; without an index all rows are gone through once.
        """
        starts = self.documents.starts
        n_rows = sum(int(starts[stop] - starts[first]) for first, stop in documents)
        if 2 * n_rows <= self.n_rows:
            return n_rows, self.sums(documents).dense("count", self.d_sae)
        others = complement(documents, len(self.documents))
        return n_rows, self._count_of_all - self.sums(others).dense("count", self.d_sae)

    @property
    def _count_of_all(self) -> I64:
        if self.index is not None:
            return self.index.count
        everything = ((0, len(self.documents)),)
        return self.kept.get("count", lambda: self._sum(everything).dense("count", self.d_sae))

    def _sum(self, documents: Ranges) -> Sums:
        starts, n_rows = self.documents.starts, 0
        count = np.zeros(self.d_sae, np.int64)
        total = np.zeros(self.d_sae, np.float64)
        largest = np.zeros(self.d_sae, np.float32)
        for first, stop in documents:
            n_rows += int(starts[stop] - starts[first])
            for block in self._blocks(int(starts[first]), int(starts[stop])):
                _add(block, count, total, largest)
        columns = np.flatnonzero(count)
        return Sums(n_rows, columns, count[columns], total[columns], largest[columns])


def _add(block: csr_matrix, count: I64, total: F64, largest: F32) -> None:
    by_feature = block.tocsc()
    lengths = np.diff(by_feature.indptr)
    columns = np.flatnonzero(lengths)
    if len(columns):
        first = by_feature.indptr[columns]
        count[columns] += lengths[columns]
        total[columns] += np.add.reduceat(by_feature.data.astype(np.float64), first)
        largest[columns] = np.maximum(largest[columns], np.maximum.reduceat(by_feature.data, first))


def complement(ranges: Ranges, n: int) -> Ranges:
    """Return what is left of [0, n); `ranges` rise and do not touch."""
    edges = [0, *(edge for bounds in ranges for edge in bounds), n]
    return merge(list(zip(edges[::2], edges[1::2], strict=True)))


def merge(ranges: Sequence[tuple[int, int]]) -> Ranges:
    """Put ranges in order and join those that touch or overlap."""
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(stop, merged[-1][1])
        elif start < stop:
            merged.append((start, stop))
    return tuple(merged)
