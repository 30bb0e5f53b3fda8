"""Neuronpedia's limit of requests per hour, for one address: a sliding window, and a wall until the full hour.

    counted = this clock hour's requests + those of the hour before x the share of it that the window still holds

A refusal is remembered until the full hour: until then everything is refused and nothing is counted.
"""

from collections.abc import Callable
from typing import Final

WINDOW_S: Final = 3600.0


class Limiter:
    """Lets `limit` requests an hour through. `wall` is the time in seconds since 1970, UTC."""

    def __init__(self, limit: int, wall: Callable[[], float]) -> None:
        self.limit = limit
        self._wall = wall
        self._hour = self._n_before = self._n_now = 0
        self._refused_until = 0.0

    def remaining(self) -> int | None:
        """Count one request; return how many are left after it, or None if it is refused."""
        now = self._wall()
        if now < self._refused_until:
            return None
        hour, into_it = divmod(now, WINDOW_S)
        if int(hour) != self._hour:
            self._n_before = self._n_now if int(hour) == self._hour + 1 else 0
            self._hour, self._n_now = int(hour), 0
        counted = self._n_now + int(self._n_before * (1 - into_it / WINDOW_S))
        if counted >= self.limit:
            self._refused_until = (hour + 1) * WINDOW_S
            return None
        self._n_now += 1
        return self.limit - counted - 1
