"""Where documents begin: the one answer that the index, the dashboard and the exclusion of first rows share.

A document is a run of rows of one shard with equal `row_document`. A shard without `row_document` is one document.
"""

from __future__ import annotations

import numpy as np

from encoder.arrays import I64

_BLOCK_ROWS = 1 << 20


def document_starts(row_document: I64 | None, n_rows: int) -> I64:
    """Return the rows of a shard at which its documents begin, int64 ascending; none where there are no rows.

    `row_document` may lie on disk: it is read a block of rows at a time.
    """
    if n_rows == 0:
        return np.zeros(0, np.int64)
    starts = [np.zeros(1, np.int64)]
    if row_document is not None:
        for at in range(0, n_rows - 1, _BLOCK_ROWS):
            block = row_document[at : at + _BLOCK_ROWS + 1]  # one more, to compare across the seam
            starts.append(at + 1 + np.flatnonzero(block[1:] != block[:-1]))
    return np.concatenate(starts)


class DocumentCounter:
    """Numbers the documents of a folder as its rows go by, block after block."""

    def __init__(self) -> None:
        self.count = 0
        self._shard = -1
        self._last: int | None = None

    def number(self, shard: int, row_document: I64 | None, n_rows: int) -> tuple[I64, I64]:
        """Take the next `n_rows` > 0 rows, which are of this shard.

        Returns the number of each row's document, int64 [n_rows], and those rows of the block at which one begins.
        """
        starts = document_starts(row_document, n_rows)
        first = None if row_document is None else int(row_document[0])
        if shard == self._shard and first == self._last:
            starts = starts[1:]  # the block before ended within the same document
        self._shard = shard
        self._last = None if row_document is None else int(row_document[-1])
        begins = np.zeros(n_rows, np.bool_)
        begins[starts] = True
        documents = np.cumsum(begins, dtype=np.int64) + (self.count - 1)
        self.count = int(documents[-1]) + 1
        return documents, starts


class Counted:
    """How many rows count, and how many documents have such a row; documents come in order."""

    def __init__(self) -> None:
        self.n_rows = self.n_documents = 0
        self._last = -1

    def add(self, documents: I64) -> None:
        """Take the documents of the next rows that count, int64 rising."""
        if len(documents):
            self.n_rows += len(documents)
            self.n_documents += len(np.unique(documents)) - int(documents[0] == self._last)
            self._last = int(documents[-1])
