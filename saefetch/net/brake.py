"""The brake before the quota's end."""

from __future__ import annotations

from saefetch.net.clock import Now, Sleep


class Brake:
    """Slows down before the wall: `x-limit-remaining` near its end spreads the requests out.

    A `0` on a success may only mean that the server's own counter was slow, so a zero counts only after a low number.
    """

    LOW = 1000
    """From this many remaining requests on, we slow down in proportion."""
    SLOWEST_S = 2.0

    def __init__(self, *, now: Now, sleep: Sleep) -> None:
        self._now, self._sleep = now, sleep
        self.remaining: int | None = None
        self._next_slot = 0.0

    def note(self, remaining: int) -> None:
        if remaining > 0 or (self.remaining is not None and self.remaining < self.LOW // 10):
            self.remaining = remaining

    @property
    def gap_s(self) -> float:
        """Seconds to keep between two requests: 0 with plenty left, 2 s at the wall."""
        if self.remaining is None or self.remaining >= self.LOW:
            return 0.0
        return self.SLOWEST_S * (1 - self.remaining / self.LOW) ** 2

    async def wait(self) -> None:
        gap_s = self.gap_s
        if not gap_s:
            return
        self._next_slot = max(self._next_slot + gap_s, self._now())
        await self._sleep(self._next_slot - self._now())
