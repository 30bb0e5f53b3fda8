"""Some of a folder's documents, for an export: what is asked of a `Corpus`, answered from these documents alone.

Documents and rows keep the numbers that they have in the folder, so an address means the same in the export and in the
folder. Rows, activations, and every figure of a feature are those of the part, as if nothing else were there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.sparse import csc_matrix, vstack

from dashboard.errors import NotFoundError
from dashboard.model.cache import Cache
from dashboard.model.corpus import Corpus, Ranges
from dashboard.model.documents import Document, Documents
from encoder.arrays import F64, I64, AnyArray
from encoder.index import FeatureIndex
from encoder.index.format import N_BINS, IndexFile


class Part(Corpus):
    """The documents `ranges` of `whole`. They are held in memory, so there are few of them."""

    def __init__(self, whole: Corpus, ranges: Ranges) -> None:
        super().__init__(whole.features, Cache(whole.features.n_shards * 8))
        self._documents = SomeDocuments(whole.documents, [n for bounds in ranges for n in range(*bounds)])
        self._n_rows = sum(document.n_rows for document in self._documents)
        self.index = PartIndex(self)
        self.index_state = "ready"

    @property
    def documents(self) -> Documents:
        return self._documents

    @property
    def n_rows(self) -> int:
        return self._n_rows

    @property
    def nnz(self) -> int:
        return int(self.columns.nnz)

    @property
    def shards(self) -> Sequence[int]:
        return sorted({document.shard for document in self.documents})

    @cached_property
    def row_numbers(self) -> I64:
        """The numbers in the folder of the part's rows, rising: int64 [T]."""
        runs = [np.arange(document.first_row, document.stop_row) for document in self.documents]
        return np.concatenate([np.zeros(0, np.int64), *runs])

    @cached_property
    def columns(self) -> csc_matrix:
        """The part's rows by feature: [T, F]."""
        runs = [self.rows(document.first_row, document.stop_row) for document in self.documents]
        if not runs:
            return csc_matrix((0, self.d_sae), dtype=np.float32)
        return vstack(runs, format="csr").tocsc()

    def counts(self, documents: Ranges) -> tuple[int, I64]:
        sums = self.sums(documents)
        return sums.n_rows, sums.dense("count", self.d_sae)


class SomeDocuments(Documents):
    """Those of a folder's documents that are in the part."""

    def __init__(self, whole: Documents, numbers: Sequence[int]) -> None:
        super().__init__(whole.features, whole.starts)
        self._numbers = list(numbers)
        self._known = set(numbers)

    @property
    def numbers(self) -> Sequence[int]:
        return self._numbers

    def __getitem__(self, number: int) -> Document:
        if number not in self._known:
            raise NotFoundError(f"document {number} is not in this part of the data")
        return super().__getitem__(number)

    def __iter__(self) -> Iterator[Document]:
        return (self[number] for number in self._numbers)


class PartIndex(FeatureIndex):
    """The index by feature that the part would have if it were a folder of its own; nothing of it is on disk."""

    def __init__(self, part: Part) -> None:
        self._n_rows = part.n_rows
        super().__init__(IndexFile(Path("part"), part.features.shape, {}, _arrays(part)))

    @cached_property
    def density(self) -> F64:
        return self.count / max(1, self._n_rows)


def _arrays(part: Part) -> dict[str, AnyArray]:
    """Return the arrays of an index, as `encoder.index.format` has them, but without the strongest rows.

    Where an index holds fewer of the strongest rows than it is asked for, it finds them among all of a feature's.
    """
    columns, d_sae = part.columns, part.d_sae
    lengths = np.diff(columns.indptr)
    firing = np.flatnonzero(lengths)
    starts = columns.indptr[firing]
    features = np.repeat(np.arange(d_sae), lengths)
    rows = part.row_numbers[columns.indices]
    values = columns.data.astype(np.float32)
    largest, total, n_documents = np.zeros(d_sae, np.float32), np.zeros(d_sae), np.zeros(d_sae, np.int64)
    if len(firing):
        largest[firing] = np.maximum.reduceat(values, starts)
        total[firing] = np.add.reduceat(values.astype(np.float64), starts)
        documents = part.documents.of_rows(rows)
        is_first = np.append(True, (features[1:] != features[:-1]) | (documents[1:] != documents[:-1]))
        n_documents += np.bincount(features[is_first], minlength=d_sae)
    scaled = values.astype(np.float64) * N_BINS / np.maximum(largest, np.finfo(np.float32).tiny)[features]
    bins = np.clip(scaled.astype(np.int64), 0, N_BINS - 1)
    histogram = np.bincount(features * N_BINS + bins, minlength=d_sae * N_BINS).reshape(d_sae, N_BINS)
    return {
        "indptr": columns.indptr.astype(np.int64),
        "indices": rows,
        "data": values,
        "max": largest,
        "sum": total,
        "n_documents": n_documents,
        "histogram": histogram,
        "top_rows": np.zeros((d_sae, 0), np.int64),
        "top_values": np.zeros((d_sae, 0), np.float32),
        "document_rows": part.documents.starts,
        "document_shard": np.zeros(len(part.documents), np.int32),
    }
