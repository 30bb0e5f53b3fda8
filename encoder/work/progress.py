"""How far a shard is, and what its time went into."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

STAGES = ("read", "copy", "kernel", "write")


@dataclass(slots=True)
class Progress:
    """How far a shard is, and the seconds spent in each stage so far; stages overlap.

    `n_counted` of the rows that are done count, and have `nnz_counted` values.
    """

    n_rows: int = 0
    done: int = 0
    n_counted: int = 0
    nnz_counted: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - began
