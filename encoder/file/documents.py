"""Where documents begin: a document is a run of rows of one shard with equal `row_document`, or a whole shard."""

from __future__ import annotations

import numpy as np

from encoder.arrays import I64


class DocumentCounter:
    """Numbers the documents of a folder as its rows go by, block after block."""

    def __init__(self) -> None:
        self.count = 0
        self._shard = -1
        self._last: int | None = None

    def number(self, shard: int, said: I64 | None, n_rows: int) -> tuple[I64, I64]:
        """Take the next `n_rows` > 0 rows, of this shard; `said` is their `row_document`, None if the shard has none.

        Returns their documents int64 [n_rows], and those rows of the block at which one begins.
        """
        begins = np.zeros(n_rows, np.bool_)
        if said is not None:
            begins[1:] = said[1:] != said[:-1]
            begins[0] = self._last != int(said[0])
            self._last = int(said[-1])
        if shard != self._shard:
            begins[0], self._shard = True, shard
        documents = np.cumsum(begins, dtype=np.int64) + (self.count - 1)
        self.count = int(documents[-1]) + 1
        return documents, np.flatnonzero(begins)
