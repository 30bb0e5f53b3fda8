"""Ask a folder's index: where a feature fires, how strongly, where most strongly.

    index = open_index("features/")
    index.shape, index.nnz          rows and width, stored values
    index.state                     "ready"; "stale": the features files are not those that it was made of; "older": it
                                    is of an earlier version, and the first figure costs a reading of all of it
    index.feature(42)               -> rows [n] rising, values float32 [n]; views of the file
    index.feature(42, 100, 200)     -> the same of the rows [100, 200)
    index.top(42, 20)               -> rows and values, strongest first, of equal ones the lower row
    index.histogram(42)             -> edges float64 [33], counts int64 [32]
    index.count, index.density      of each feature, [F]: rows on which it fires, and their share of the rows that count
    index.max, index.min            of each feature, [F]: its strongest value, and its smallest
    index.mean, index.n_documents
    index.n_rows_counted            rows that count; index.excluded says how many do not, by reason
    index.documents                 first row of each document, and the number of rows: int64 [n + 1]
    index.document_shard, index.document_of(rows)
    index.words                     the words of the texts and the rows of each (see words.py), None if it has none

All of it is of the rows that count, whatever the index's version. What is strongest goes by magnitude, and values keep
their sign. Headers are read and checked when it is opened, what else is asked for when it is asked for. Nothing here
needs torch. Safe for several threads.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from encoder.arrays import F32, F64, I32, I64, AnyArray, Int
from encoder.errors import EncoderError
from encoder.file.folder import Features, open_features
from encoder.file.sae_folders import SaeName
from encoder.index.format import (
    COUNTED,
    LARGE,
    N_BINS,
    OLDER,
    WORD_MEMBERS,
    IndexFile,
    State,
    again,
    open_index_file,
    place_of,
    state_of,
)
from encoder.index.words import Words
from encoder.stores.object_path import path_of

if TYPE_CHECKING:
    from encoder.index.older import Renewed

_CHECK_ROWS = 1 << 20


def open_index(folder: str | Path, *, sae: SaeName | None = None, index: str | Path | None = None) -> FeatureIndex:
    """Open the index of a folder of features files.

    `sae` says which SAE is meant in a folder of several, as in `open_features`. `index` is the folder that was given to
    `sae-encode index --out`. Raises: EncoderError, in one line, if there is none or it is damaged.
    """
    of_sae, path = place_of(path_of(folder), None if index is None else path_of(index), sae)
    return FeatureIndex(open_index_file(path, of_sae))


class FeatureIndex:
    """A CSC [T, F] over a folder, with sums of each feature; see the module."""

    def __init__(self, file: IndexFile) -> None:
        self._file, self._arrays = file, file.arrays
        self.path, self.shape, self.meta = file.path, file.shape, file.meta
        self._lock = Lock()
        self._kept: Renewed | None = None

    def __repr__(self) -> str:
        n_rows, d_sae = self.shape
        return f"<FeatureIndex {n_rows} x {d_sae}, {self.nnz} stored, {self.n_documents_total} documents>"

    def __len__(self) -> int:
        return self.shape[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file. What was taken from it stays valid."""
        self._arrays = {}

    @property
    def state(self) -> State:
        """Compare with the features files that are there now, which reads their headers."""
        with open_features(self._file.features) as features:
            return self.state_for(features)

    def state_for(self, features: Features) -> State:
        """Compare with features that are open: costs no reading."""
        return state_of(self._file, features)

    def feature(self, feature: int, start: int = 0, stop: int | None = None) -> tuple[Int, F32]:
        """Return the rows in [start, stop), global ones, on which a feature fires, and its values there.

        They are views; of an older index copies, without the rows that do not count. Raises: IndexError; EncoderError
        if they are damaged.
        """
        first, end = self._bounds(feature)
        rows, values = self._array("indices")[first:end], self._array("data")[first:end]
        if start > 0 or stop is not None:
            within = slice(*np.searchsorted(rows, [start, self.shape[0] if stop is None else stop]))
            rows, values = rows[within], values[within]
        for at in range(0, len(rows), _CHECK_ROWS):
            block = rows[at : at + _CHECK_ROWS + 1]  # one more, to compare across the seam
            if block[0] < 0 or block[-1] >= self.shape[0] or (block[1:] <= block[:-1]).any():
                raise self._damaged(f"the rows of feature {feature} do not rise within 0..{self.shape[0] - 1}")
        if self.is_older:
            is_counted = self._renewed.counts[rows]
            rows, values = rows[is_counted], values[is_counted]
        return rows, values

    def top(self, feature: int, k: int = 20) -> tuple[I64, F32]:
        """Return the k strongest rows, int64, and their values, fewer where it fires less often.

        The first 64 are in the index; for more, all of the feature is gone through.
        """
        self._bounds(feature)
        n = min(k, int(self.count[feature]))
        kept = self._array("top_rows").shape[1]
        if n > kept:
            rows, values = self.feature(feature)
            # Of those that equal the k-th the first ones: rows rise, and the sort is stable.
            strengths = np.abs(values)
            least = np.partition(strengths, len(values) - n)[len(values) - n]
            chosen = np.flatnonzero(strengths >= least)
            chosen = chosen[np.argsort(-strengths[chosen], kind="stable")[:n]]
            return rows[chosen].astype(np.int64), values[chosen]
        top_rows = np.array(self._array("top_rows")[feature, : max(0, n)])
        if top_rows.size and (top_rows.min() < 0 or top_rows.max() >= self.shape[0]):
            raise self._damaged(f"the strongest rows of feature {feature} are not within 0..{self.shape[0] - 1}")
        return top_rows, np.array(self._array("top_values")[feature, : max(0, n)])

    def histogram(self, feature: int) -> tuple[F64, I64]:
        """Return edges [n + 1] and how many values lie between them [n].

        Edges go from 0 to the feature's largest value; where some are negative, from minus its largest magnitude on.
        """
        self._bounds(feature)
        largest = abs(float(self.max[feature]))
        edges = np.linspace(-largest if self.min[feature] < 0 else 0, largest, N_BINS + 1)
        return edges, self._array("histogram")[feature].astype(np.int64)

    @cached_property
    def count(self) -> I64:
        """Rows on which each feature fires, int64 [F]."""
        return self._renewed.n_entries if self.is_older else np.diff(self._indptr)

    @cached_property
    def density(self) -> F64:
        """Share of the rows that count on which each feature fires, float64 [F]."""
        return self.count / max(1, self.n_rows_counted)

    @cached_property
    def mean(self) -> F64:
        """Mean of each feature's values where it fires, float64 [F], 0 where it never does."""
        return self.sum / np.maximum(1, self.count)

    @property
    def max(self) -> F32:
        """Each feature's value of the largest magnitude, with its sign, float32 [F]."""
        return self._array("max")

    @property
    def min(self) -> F32:
        """Each feature's smallest value, float32 [F]."""
        return self._array("min")

    @property
    def sum(self) -> F64:
        return self._array("sum")

    @property
    def n_documents(self) -> I64:
        """Documents in which each feature fires, int64 [F]."""
        return self._array("n_documents")

    @property
    def is_older(self) -> bool:
        """Say whether an earlier version made it: what it says is counted anew when it is first asked."""
        return self.meta.get("version") == OLDER

    @property
    def _renewed(self) -> Renewed:
        """What today's index would say. Raises: EncoderError, also where the features files are others now."""
        with self._lock:
            if self._kept is None:
                from encoder.index.older import renew  # takes numba along

                self._kept = renew(self._file, self.documents)
            return self._kept

    @property
    def nnz(self) -> int:
        """Stored values of rows that count."""
        return int(self.count.sum()) if self.is_older else len(self._file.arrays["indices"])

    @property
    def n_rows_counted(self) -> int:
        return int(self._renewed.counts.sum()) if self.is_older else self._counted("rows_counted", self.shape[0])

    @property
    def n_documents_counted(self) -> int:
        """Documents that have a row that counts."""
        if self.is_older:
            return self._renewed.n_documents_counted
        return self._counted("n_documents_counted", self.n_documents_total)

    @property
    def excluded(self) -> dict[str, int]:
        """Rows that do not count, by reason."""
        told = self._renewed.excluded if self.is_older else self.meta.get("excluded", {})
        if not isinstance(told, dict) or not all(type(n) is int and n >= 0 for n in told.values()):
            raise self._damaged(f"its meta says excluded {str(told)[:100]}")
        return told

    def _counted(self, name: str, of_all: int) -> int:
        told = self.meta.get(name)
        if type(told) is not int or not 0 <= told <= of_all:
            raise self._damaged(f"its meta says {name} {told!r} of {of_all:,}")
        return told

    @property
    def n_documents_total(self) -> int:
        return len(self._file.arrays["document_shard"])

    @cached_property
    def documents(self) -> I64:
        rows = self._array("document_rows")
        if rows[-1] != self.shape[0] or rows[0] != 0 or (rows[1:] <= rows[:-1]).any():
            raise self._damaged(f"its documents do not rise from 0 to {self.shape[0]}")
        return rows

    @property
    def document_shard(self) -> I32:
        """The number of the features file that has each document, int32 [n]."""
        return self._array("document_shard")

    def document_of(self, rows: Any) -> I64:
        """Return the document that has each row. Raises: IndexError if there is no such row."""
        asked = np.asarray(rows)
        if asked.size and (asked.min() < 0 or asked.max() >= self.shape[0]):
            raise IndexError(f"a row outside the {self.shape[0]} rows")
        found: I64 = np.searchsorted(self.documents, asked, side="right") - 1
        return found

    @property
    def has_words(self) -> bool:
        return self._file.has_words

    @cached_property
    def words(self) -> Words | None:
        """The words of the texts; None in an index that was made before there were any."""
        if not self.has_words:
            return None
        texts, offsets, indptr, rows = (self._array(name) for name in WORD_MEMBERS)
        for name, bounds, stop in (("word_offsets", offsets, len(texts)), ("word_indptr", indptr, len(rows))):
            if bounds[0] != 0 or bounds[-1] != stop or (bounds[1:] < bounds[:-1]).any():
                raise self._damaged(f"{name} do not rise from 0 to {stop}")

        def check(some: Int) -> None:
            if len(some) and (some[0] < 0 or some[-1] >= self.shape[0] or (some[1:] <= some[:-1]).any()):
                raise self._damaged(f"the rows of a word do not rise within 0..{self.shape[0] - 1}")

        return Words(texts, offsets, indptr, rows, check)

    @cached_property
    def _indptr(self) -> I64:
        indptr = self._array("indptr")
        n_entries = len(self._file.arrays["indices"])
        if indptr[0] != 0 or indptr[-1] != n_entries or (indptr[1:] < indptr[:-1]).any():
            raise self._damaged(f"indptr does not rise from 0 to {n_entries}")
        return indptr

    def _bounds(self, feature: int) -> tuple[int, int]:
        if not 0 <= feature < self.shape[1]:
            raise IndexError(f"feature {feature} of {self.shape[1]}")
        return int(self._indptr[feature]), int(self._indptr[feature + 1])

    def _array(self, name: str) -> AnyArray:
        if not self._arrays:
            raise EncoderError("the index is closed")
        if self.is_older and name in COUNTED:
            return self._renewed.arrays[name]
        return self._arrays[name] if name in LARGE else np.asarray(self._arrays[name])

    def _damaged(self, why: str) -> EncoderError:
        return EncoderError(f"{self.path}: {why}; {again(self.path, self._file.features)}")
