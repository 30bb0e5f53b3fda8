"""How far a shard is, and what its time went into."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from encoder.arrays import Bool
    from encoder.file.csr import Csr

STAGES = ("read", "copy", "kernel", "write")


@dataclass(slots=True)
class Progress:
    """How far a shard is, and the seconds spent in each stage so far; stages overlap.

    Rows are counted once for each SAE. `n_counted` of the rows that are done count, and have `nnz_counted` values.
    """

    n_rows: int = 0
    done: int = 0
    n_counted: int = 0
    nnz_counted: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))

    def add(self, features: Csr, counts: Bool) -> None:
        """Take the features of a batch, and which of its rows count."""
        self.done += len(counts)
        self.n_counted += int(counts.sum())
        self.nnz_counted += int((features.indptr[1:] - features.indptr[:-1])[counts].sum())

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - began
