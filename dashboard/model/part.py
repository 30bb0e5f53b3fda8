"""Some of a folder's documents, for an export: what is asked of a `Corpus`, answered from these documents alone.

Documents and rows keep the numbers that they have in the folder, so an address means the same in the export and in the
folder. Rows, activations, and every figure of a feature are those of the part, as if nothing else were there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix, vstack

from dashboard.errors import NotFoundError
from dashboard.model.cache import Cache
from dashboard.model.corpus import Corpus
from dashboard.model.documents import Document, Documents
from dashboard.model.shards import NOTHING_EXCLUDED, Excluded, excluded_of
from dashboard.model.sums import Ranges, strongest_of
from encoder.arrays import I64, AnyArray
from encoder.index import FeatureIndex
from encoder.index.format import N_BINS, VERSION, IndexFile


class Part(Corpus):
    """The documents `ranges` of `whole`. They are held in memory, so there are few of them."""

    def __init__(self, whole: Corpus, ranges: Ranges) -> None:
        super().__init__(whole.features, Cache(whole.features.n_shards * 8))
        self._documents = SomeDocuments(whole.documents, [n for bounds in ranges for n in range(*bounds)])
        runs = [whole.rows(document.first_row, document.stop_row) for document in self._documents]
        self._rows = vstack(runs, format="csr") if runs else csr_matrix((0, whole.d_sae), dtype=np.float32)
        self.index = index_of(self)
        self.index_state = "ready"

    @property
    def documents(self) -> Documents:
        return self._documents

    @property
    def n_rows(self) -> int:
        return int(self._rows.shape[0])

    @property
    def nnz(self) -> int:
        return int(self._rows.nnz)

    @property
    def shards(self) -> Sequence[int]:
        return sorted({document.shard for document in self.documents})

    @cached_property
    def excluded(self) -> Excluded:
        stretches = [(document.shard, document.start, document.n_rows) for document in self.documents]
        found = [excluded_of(self.features, shard, start, start + n_rows) for shard, start, n_rows in stretches]
        return sum(found, NOTHING_EXCLUDED)

    @property
    def firing(self) -> list[int]:
        """The features that fire on any row, on one that does not count, too; rising."""
        firing: list[int] = np.unique(self._rows.indices).tolist()
        return firing

    def counted_rows(self) -> tuple[csr_matrix, I64]:
        """Return the rows that count, and their numbers in the folder, rising."""
        nothing = np.zeros(0, np.int64)
        numbers = np.concatenate([nothing, *(np.arange(one.first_row, one.stop_row) for one in self.documents)])
        counting = [self.counting(document.first_row, document.n_rows) for document in self.documents]
        counts = np.concatenate([nothing.astype(np.bool_), *counting])
        return self._rows[counts], numbers[counts]

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


def index_of(part: Part) -> FeatureIndex:
    """Return the index by feature that the part would have if it were a folder of its own; nothing of it is on disk.

    It has no strongest rows: where an index holds fewer than are wanted, it finds them among a feature's values.
    """
    counted, numbers = part.counted_rows()
    columns, d_sae = counted.tocsc(), part.d_sae
    lengths = np.diff(columns.indptr)
    firing = np.flatnonzero(lengths)
    features = np.repeat(np.arange(d_sae), lengths)
    rows, values = numbers[columns.indices], columns.data.astype(np.float32)
    strongest, smallest = np.zeros(d_sae, np.float32), np.zeros(d_sae, np.float32)
    total, n_documents = np.zeros(d_sae), np.zeros(d_sae, np.int64)
    if len(firing):
        starts = columns.indptr[firing]
        strongest[firing] = strongest_of(values, starts)
        smallest[firing] = np.minimum.reduceat(values, starts)
        total[firing] = np.add.reduceat(values.astype(np.float64), starts)
        documents = part.documents.of_rows(rows)
        is_first = np.append(True, (features[1:] != features[:-1]) | (documents[1:] != documents[:-1]))
        n_documents += np.bincount(features[is_first], minlength=d_sae)
    arrays: dict[str, AnyArray] = {
        "indptr": columns.indptr.astype(np.int64),
        "indices": rows,
        "data": values,
        "max": strongest,
        "min": smallest,
        "sum": total,
        "n_documents": n_documents,
        "histogram": _histogram(features, values, strongest, smallest),
        "top_rows": np.zeros((d_sae, 0), np.int64),
        "top_values": np.zeros((d_sae, 0), np.float32),
        "document_rows": part.documents.starts,
        "document_shard": np.zeros(len(part.documents), np.int32),
    }
    meta = {"version": VERSION, "rows_counted": len(numbers), "excluded": dict(part.excluded.by_reason)}
    meta["n_documents_counted"] = len(np.unique(part.documents.of_rows(numbers)))
    return FeatureIndex(IndexFile(Path("part"), Path(), part.features.shape, meta, arrays))


def _histogram(features: I64, values: AnyArray, strongest: AnyArray, smallest: AnyArray) -> I64:
    """Count the values of each feature in bins as `encoder.index.format` has them: [F, N_BINS]."""
    scale = np.abs(strongest.astype(np.float64))
    zero_bin = np.where(smallest < 0, N_BINS // 2, 0)[features]
    bins = zero_bin + np.floor(values.astype(np.float64) * (N_BINS - zero_bin) / scale[features]).astype(np.int64)
    places = features * N_BINS + np.minimum(bins, N_BINS - 1)
    return np.bincount(places, minlength=len(strongest) * N_BINS).reshape(len(strongest), N_BINS)
