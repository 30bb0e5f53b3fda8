"""Where the documents of a folder of features begin and end.

`encoder.file.documents` says what a document is. Ids count from 0 over the folder. All rows are in documents, so the
rows at which they begin are all there is to know.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dashboard.errors import NotFoundError
from dashboard.model.shards import has_mask
from encoder.arrays import I64, Int
from encoder.file.folder import Features


@dataclass(frozen=True, slots=True)
class Document:
    """Rows [first_row, first_row + n_rows) of the folder, which are [start, start + n_rows) of the shard.

    `number` is what the shard calls it, None if it does not. `sections` are relative to the document.
    """

    id: int
    shard: int
    start: int
    first_row: int
    n_rows: int
    number: int | None
    sections: list[tuple[str, int, int]]

    @property
    def stop_row(self) -> int:
        return self.first_row + self.n_rows


class Documents:
    """The documents of a folder. `starts` int64 [n + 1]: their first rows, and the number of rows at the end."""

    def __init__(self, features: Features, starts: I64) -> None:
        self.features = features
        self.starts = starts

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def numbers(self) -> Sequence[int]:
        """The numbers of the documents that may be looked at, rising."""
        return range(len(self))

    @cached_property
    def counted(self) -> I64:
        """How many rows of each document count: int64 [n]."""
        counted = np.diff(self.starts)
        for shard in range(self.features.n_shards):
            if has_mask(self.features, shard):
                excluded = np.flatnonzero(~self.features.counts(shard)) + self.features.first_rows[shard]
                counted -= np.bincount(self.of_rows(excluded), minlength=len(self))
        return counted

    def beside(self, number: int) -> tuple[int | None, int | None]:
        """Return the numbers of the documents before and after this one, None where there is none."""
        at = bisect_left(self.numbers, number)
        before = self.numbers[at - 1] if at > 0 else None
        return before, self.numbers[at + 1] if at + 1 < len(self.numbers) else None

    def __getitem__(self, number: int) -> Document:
        """Raises: NotFoundError if there is no such document."""
        if not 0 <= number < len(self):
            raise NotFoundError(f"document {number} does not exist: there are {len(self):,}, counted from 0")
        first_row, stop_row = int(self.starts[number]), int(self.starts[number + 1])
        shard, start = self.features.locate(first_row)
        n_rows = stop_row - first_row
        tokens = self.features.tokens(shard, start, start + 1)
        number_in_shard = None if tokens.row_document is None else int(tokens.row_document[0])
        within = [(name, max(a - start, 0), min(b - start, n_rows)) for name, (a, b) in tokens.sections.items()]
        sections = [section for section in within if section[1] < section[2]]
        return Document(number, shard, start, first_row, n_rows, number_in_shard, sections)

    def __iter__(self) -> Iterator[Document]:
        return (self[number] for number in self.numbers)

    def of_row(self, row: int) -> Document:
        """Return the document that has the row. Raises: NotFoundError if there is no such row."""
        if not 0 <= row < int(self.starts[-1]):
            raise NotFoundError(f"row {row} does not exist: there are {int(self.starts[-1]):,}, counted from 0")
        return self[int(np.searchsorted(self.starts, row, side="right")) - 1]

    def of_rows(self, rows: Int) -> I64:
        """Return the document of each of `rows`."""
        return np.searchsorted(self.starts, rows, side="right") - 1
