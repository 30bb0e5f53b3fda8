"""Where the documents of a folder of features begin and end.

`encoder.file.documents` says what a document is. Ids count from 0 over the folder. All rows are in documents, so the
rows at which they begin are all there is to know.

A shard that arrives moves the ids of the documents after it. What stays is a document's address: the name of its shard,
and `:K` for the K-th document of a shard, from 0, where the name alone would not do:

    scripture__exodus-26        the first document of this shard
    corpus__part-0:2            the third
    7:0                         the first of a shard called 7, as a number alone is an id
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dashboard.errors import NotFoundError
from dashboard.model.shards import has_mask
from encoder.arrays import I64, Int
from encoder.file.folder import Features

_NUMBER = re.compile(r"[0-9]{1,15}")


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
    address: str
    sections: list[tuple[str, int, int]]

    @property
    def stop_row(self) -> int:
        return self.first_row + self.n_rows

    def row(self, position: int) -> int:
        """Return the row of the token at `position`. Raises: NotFoundError if the document is not so long."""
        if not 0 <= position < self.n_rows:
            raise NotFoundError(f"document {self.address} has no token {position}: {self.n_rows:,}, counted from 0")
        return self.first_row + position


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
        address = self._address(number, shard)
        return Document(number, shard, start, first_row, n_rows, number_in_shard, address, sections)

    def _address(self, number: int, shard: int) -> str:
        name = self.features.paths[shard].stem
        k = number - self._first_of(shard)
        return name if k == 0 and not _NUMBER.fullmatch(name) else f"{name}:{k}"

    def _first_of(self, shard: int) -> int:
        """Return the id of the shard's first document, or of the next one where it has none."""
        return int(np.searchsorted(self.starts, self.features.first_rows[shard]))

    def of_shard(self, shard: int) -> tuple[int, int]:
        """Return the ids [start, stop) of a shard's documents."""
        return self._first_of(shard), self._first_of(shard + 1)

    @cached_property
    def _shards(self) -> dict[str, int]:
        return {path.stem: shard for shard, path in enumerate(self.features.paths)}

    def find(self, address: str) -> int:
        """Return the id of the document that has this address, or this id. Raises: NotFoundError."""
        if _NUMBER.fullmatch(address):
            return self[int(address)].id
        name, k = address, "0"
        if name not in self._shards:
            name, _, k = address.rpartition(":")
        shard = self._shards.get(name)
        if shard is not None and _NUMBER.fullmatch(k):
            number = self._first_of(shard) + int(k)
            if number < self._first_of(shard + 1):
                return self[number].id
        raise NotFoundError(f"document {address[:200]!r} is not here (yet): there is no such shard, or it has fewer")

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
