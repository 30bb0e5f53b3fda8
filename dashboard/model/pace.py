"""How fast something goes on and how long it will take: a download by looking twice, a queue by its files' times."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WINDOW_S = 60.0
SHORTEST_S = 1.0
"""Between two looks: what is counted in transactions comes in jumps."""


@dataclass(frozen=True, slots=True)
class Going:
    """So many a second, and the seconds until all is done; None where nothing is known yet."""

    per_s: float | None = None
    left_s: float | None = None


class Pace:
    """The pace of one thing that is counted now and then. Safe for several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: deque[tuple[float, int]] = deque()

    def going(self, n_done: int, n_left: int) -> Going:
        """Take a count, and return the pace of about the last minute."""
        with self._lock:
            now = self._clock()
            if self._seen and n_done < self._seen[-1][1]:  # it was begun anew
                self._seen.clear()
            self._seen.append((now, n_done))
            while len(self._seen) > 2 and self._seen[1][0] <= now - WINDOW_S:
                self._seen.popleft()
            began, n_then = self._seen[0]
            return _going(n_done - n_then, now - began, n_left) if now - began >= SHORTEST_S else Going()


def going_of(ended: Sequence[float], now: float, n_left: int) -> Going:
    """Return the pace of jobs by the times at which the last of them ended, rising."""
    return _going(len(ended) - 1, now - ended[0], n_left) if len(ended) > 1 else Going()


def _going(n_done: int, took_s: float, n_left: int) -> Going:
    if n_done <= 0 or took_s <= 0:
        return Going()
    return Going(n_done / took_s, n_left * took_s / n_done)
