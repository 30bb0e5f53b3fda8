"""What a worker did, and who hears of it while it works."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from encoder.work.progress import Progress


@dataclass(slots=True)
class Totals:
    """What this worker did. `skipped` were finished before, `failed` counts attempts; seconds are by stage.

    `unmatched` are shards that none of several SAEs is for. Rows are counted once for each SAE that encoded them:
    `rows_counted` of them count, and have `nnz_counted` of the values.
    """

    done: int = 0
    skipped: int = 0
    failed: int = 0
    unmatched: int = 0
    rows: int = 0
    nnz: int = 0
    rows_counted: int = 0
    nnz_counted: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def add(self, other: Totals) -> None:
        for name in ("done", "skipped", "failed", "unmatched", "rows", "nnz", "rows_counted", "nnz_counted"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for stage, seconds in other.seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
        self.warnings += other.warnings


class Display(Protocol):
    """Hears what a worker does. `overall` counts the queue's jobs: those that have ended, and all.

    `end` hears what the worker did with the job: the sum over all jobs is the worker's totals. `tick` hears the figures
    of the run as a whole, from who has any.
    """

    def overall(self, ended: int, total: int) -> None: ...

    def begin(self, job: str, n_rows: int) -> None: ...

    def advance(self, job: str, progress: Progress) -> None: ...

    def end(self, job: str, line: str, did: Totals) -> None: ...

    def say(self, line: str) -> None: ...

    def tick(self, words: Sequence[str]) -> None: ...
