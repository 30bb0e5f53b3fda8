"""A folder of features as it stood at one moment: its rows, its documents, and sums over some of them.

A question costs what its answer is made of: rows are read as they are needed, from memory-mapped files. Sums over
documents go through many rows, so they are made in blocks of bounded size and kept. Rows that do not count are rows of
a document like the others, and are in no sum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any, TypeVar

import numpy as np
from scipy.sparse import csr_matrix

from dashboard.model.cache import Cache
from dashboard.model.documents import Document, Documents
from dashboard.model.shards import NOTHING_EXCLUDED, Excluded, excluded_of, has_mask
from dashboard.model.sums import Adding, Ranges, Sums, complement
from encoder.arrays import I64, U8, Bool
from encoder.file.documents import document_starts
from encoder.file.folder import Features
from encoder.index import FeatureIndex
from encoder.index.format import State
from encoder.labelled.same import is_one_scale

T = TypeVar("T")

BLOCK_NNZ = 1 << 21
KEPT_SUMS = 64


class Corpus:
    """Features with their documents, and their index by feature if it is of these. Safe for several threads."""

    def __init__(self, features: Features, of_shards: Cache, index: FeatureIndex | None = None) -> None:
        self.features = features
        self.index_state: State = "missing" if index is None else index.state_for(features)
        self.index = index if self.index_state in ("ready", "older") else None
        self.kept = Cache(KEPT_SUMS)
        self._of_shards = of_shards

    @property
    def n_rows(self) -> int:
        return self.features.shape[0]

    @property
    def nnz(self) -> int:
        return self.features.nnz

    @cached_property
    def excluded(self) -> Excluded:
        """The rows that do not count."""
        return sum(map(self.excluded_in_shard, self.shards), NOTHING_EXCLUDED)

    def excluded_in_shard(self, shard: int) -> Excluded:
        if not has_mask(self.features, shard):
            return NOTHING_EXCLUDED
        return self.of_shard(shard, "excluded", partial(excluded_of, self.features, shard))

    @cached_property
    def is_one_scale(self) -> bool:
        """Say whether values have the scale of Neuronpedia's figures; files that do not say are taken to have it."""
        return is_one_scale(self.features)

    def excluded_in(self, document: Document) -> Excluded:
        """Count the rows of a document that do not count."""
        return excluded_of(self.features, document.shard, document.start, document.start + document.n_rows)

    @property
    def mean_l0(self) -> float:
        """Active features a row, of the rows that count."""
        return (self.nnz - self.excluded.nnz) / max(1, self.n_rows - self.excluded.n_rows)

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

    def counting(self, first_row: int, n_rows: int) -> Bool:
        """Say which of some rows of one shard count: [n_rows]."""
        shard, start = self.features.locate(first_row) if n_rows else (0, 0)
        return self.features.counts(shard, start, start + n_rows)

    def reasons(self, first_row: int, n_rows: int) -> U8:
        """Say why rows of one shard do not count: [n_rows], as `encoder.rows.REASONS` has it, 0 for rows that count."""
        shard, start = self.features.locate(first_row) if n_rows else (0, 0)
        return self.features.reasons(shard, start, start + n_rows)

    def _counted_blocks(self, first_row: int, stop_row: int) -> Iterator[csr_matrix]:
        """Yield the rows that count, in blocks of about BLOCK_NNZ stored values."""
        at = first_row
        while at < stop_row:
            shard, _ = self.features.locate(at)
            end = min(stop_row, int(self.features.first_rows[shard + 1]))
            indptr = self.indptr(at, end - at)
            n = max(1, int(np.searchsorted(indptr, indptr[0] + BLOCK_NNZ, side="right")) - 1)
            rows = self.rows(at, at + n)
            yield rows[self.counting(at, n)] if has_mask(self.features, shard) else rows
            at += n

    def sums(self, documents: Ranges) -> Sums:
        """Sum up over the rows of `documents` that count; kept for the next request."""
        return self.kept.get(("sums", documents), lambda: self._sum(documents))

    def counts(self, documents: Ranges) -> tuple[int, I64]:
        """Return how many rows of `documents` count, and on how many of them each feature fires: int64 [F].

        Where they have more than half of all rows, the counts of the others are taken from the counts of all. The index
        knows the counts of all; without an index all rows are gone through once.
        """
        counted = self.documents.counted
        n_rows = sum(int(counted[first:stop].sum()) for first, stop in documents)
        if 2 * n_rows <= self.n_rows:
            return n_rows, self.sums(documents).dense("count", self.d_sae)
        others = complement(documents, len(self.documents))
        return n_rows, self._count_of_all - self.sums(others).dense("count", self.d_sae)

    @property
    def _count_of_all(self) -> I64:
        if self.index_state == "ready" and self.index is not None:
            return self.index.count
        everything = ((0, len(self.documents)),)
        return self.kept.get("count", lambda: self._sum(everything).dense("count", self.d_sae))

    def _sum(self, documents: Ranges) -> Sums:
        starts, adding = self.documents.starts, Adding(self.d_sae)
        for first, stop in documents:
            for block in self._counted_blocks(int(starts[first]), int(starts[stop])):
                adding.add(block)
        return adding.sums()
