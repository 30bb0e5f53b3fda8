"""How far a run on a cluster is, and what it has cost so far: worker hours, of which the user knows the price."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from saefetch.terminal.board import duration


class Tally:
    """Counts workers over time. `n_lost` is how often one was lost, `n_failed` counts shards, `n_bytes` are over."""

    def __init__(self, n_bytes: int, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._n_bytes_in_all = now, n_bytes
        self._began = self._last = now()
        self.n_workers = self.n_lost = self.n_failed = self.n_bytes = 0
        self.worker_s = 0.0

    def count(self, n_workers: int) -> None:
        """Hear how many workers there are; those that there were until now are paid until now."""
        now = self._now()
        self.worker_s += self.n_workers * (now - self._last)
        self.n_workers, self._last = n_workers, now

    def words(self) -> list[str]:
        words = [_n(self.n_workers, "worker"), f"{self.worker_s / 3600:,.2f} worker hours"]
        words += [f"{self.n_lost:,} lost"] if self.n_lost else []
        words += [f"{self.n_failed:,} failed"] if self.n_failed else []
        if 0 < self.n_bytes < self._n_bytes_in_all:
            left = self._n_bytes_in_all - self.n_bytes
            words.append(f"{duration((self._now() - self._began) * left / self.n_bytes)} left")
        return words

    def document(self) -> dict[str, Any]:
        return {"worker_hours": round(self.worker_s / 3600, 4), "workers_lost": self.n_lost}


def _n(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
