"""The rows of activations in a table's column of lists, decoded forwards, a few megabytes at a time.

A jump back begins again at the part of the file that holds the row.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from encoder.arrays import I64, AnyArray
from encoder.errors import ShardError
from encoder.readers.arrays import tensor_of
from encoder.readers.arrow_stream import arrow_errors, list_lengths
from encoder.readers.source import printable
from encoder.readers.tables import Table

if TYPE_CHECKING:
    import torch

_BATCH_BYTES = 8 << 20
_FEW_ROWS = 64


@dataclass(frozen=True, slots=True)
class Column:
    """The activations' column. `depth` is 1 where a row of the table is a token, 2 where it is a document."""

    name: str
    depth: int
    dtype: str


@dataclass
class TableRows:
    """Reads rows forwards.

    `lengths` is each document's number of tokens, None where a row of the table is a token; `ends[i]` is the number of
    rows up to the end of the table's part i.
    """

    path: Path
    table: Table
    column: Column
    d_in: int
    lengths: I64 | None = field(init=False)
    ends: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.lengths = None if self.column.depth == 1 else self._document_lengths()
        ends = np.cumsum(self.table.n_rows, dtype=np.int64)
        if self.lengths is not None:
            ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.lengths)])[ends]
        self.ends = ends.tolist()
        self._lock = threading.Lock()
        self._blocks: Iterator[AnyArray] = iter(())
        self._held = np.zeros((0, self.d_in), self.column.dtype)  # rows that are decoded
        self._at = -1  # the number of their first one; -1 before the first read

    def _document_lengths(self) -> I64:
        """Read the column once to count: a footer does not say how many tokens there are."""
        lengths = [np.zeros(0, np.int64)]
        for batch in self.table.batches(0, [self.column.name], _FEW_ROWS):
            documents = storage(batch.column(0))
            flat(self.path, self.column.name, documents)
            lengths.append(list_lengths(documents))
        return np.concatenate(lengths)

    @property
    def n_rows(self) -> int:
        return self.ends[-1] if self.ends else 0

    def read(self, start: int, stop: int) -> torch.Tensor:
        """Read rows [start, stop) as [stop - start, d_in]."""
        with self._lock, arrow_errors(self.path):
            if not 0 <= self._at <= start:
                self._begin_at(start)
            parts = []
            while start < stop:
                while self._at + len(self._held) <= start:
                    self._at += len(self._held)
                    self._held = self._next()
                first = start - self._at
                parts.append(self._held[first : first + stop - start])
                start += len(parts[-1])
        rows = np.concatenate([self._held[:0], *parts])
        return tensor_of(rows, rows.dtype.name)

    def _begin_at(self, row: int) -> None:
        part = bisect_right(self.ends, row)
        self._at = self.ends[part - 1] if part else 0
        self._blocks, self._held = self._decoded(part), self._held[:0]

    def _next(self) -> AnyArray:
        block = next(self._blocks, None)
        if block is None:
            raise ShardError(
                f"{self.path}: column {printable(self.column.name)} ends after {self._at:,} rows, and its footer"
                f" says {self.n_rows:,}; copy or write the file again"
            )
        return block

    def _decoded(self, part: int) -> Iterator[AnyArray]:
        longest = 1 if self.lengths is None else int(self.lengths.max(initial=1))
        n_rows = max(1, _BATCH_BYTES // (longest * self.d_in * self._held.itemsize))
        for batch in self.table.batches(part, [self.column.name], n_rows):
            lists = lists_of(self.path, self.column, batch)
            values = flat(self.path, self.column.name, lists)
            lengths = list_lengths(lists)
            if (lengths != self.d_in).any():
                wrong = int(lengths[lengths != self.d_in][0])
                raise ShardError(f"{self.path}: a row has {wrong} values, the others {self.d_in}")
            yield values.to_numpy(zero_copy_only=False).reshape(len(lists), self.d_in)


def lists_of(path: Path, column: Column, batch: Any) -> Any:
    """Return the batch's tokens as one Arrow array of lists."""
    lists = storage(batch.column(0))
    return lists if column.depth == 1 else flat(path, column.name, lists)


def storage(array: Any) -> Any:
    """Return what an extension array, such as those of datasets, is made of."""
    return getattr(array, "storage", array)


def flat(path: Path, name: str, lists: Any) -> Any:
    """Return the lists' entries as one array. Raises: ShardError for nulls, which would shift all that follows."""
    entries = None if lists.null_count else lists.flatten()
    if entries is None or entries.null_count:
        raise ShardError(f"{path}: column {printable(name)} has empty entries (null), expected one a token")
    return entries
