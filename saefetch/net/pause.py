"""The pause that all workers share after a 429.

            +--------- 429 -----------+
            v                         |
    open --trip--> closed --time--> probing --an answer that tells--> open
                     ^                |
                     +-- any other ---+

While it is closed nobody is admitted. When the time is up exactly one request is let through, the probe; the others
wait for its answer. A 429 for the probe closes the host again, for twice as long. A 5xx, a timeout or a cut body tells
nothing of the limit: then the next request is the probe.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from saefetch.errors import RateLimitedError
from saefetch.net.clock import Now, Sleep

AFTER_THE_HOUR_S = 20.0
"""All who were refused come back after the full hour: each somewhen within this time."""
LEAST_PAUSE_S = 1.0
"""Waited even when the server says `Retry-After: 0`, so that nobody spins."""


class Pause:
    """The pause that all workers share after a 429. Durations in seconds, on the clock `now`.

    `first_s` is waited when the server does not say how long; it doubles up to `cap_s` each time the probe is refused.
    A pause that would bring the sum since the first refusal over `max_total_s` is not begun: RateLimitedError instead.
    """

    def __init__(
        self,
        *,
        now: Now,
        sleep: Sleep,
        max_total_s: float,
        first_s: float = 60.0,
        cap_s: float = 1800.0,
        host: str = "the server",
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._now, self._sleep, self._host, self._jitter = now, sleep, host, jitter
        self._first_s, self._cap_s, self._max_total_s = first_s, cap_s, max_total_s
        self._next_s = first_s
        self._closed_since: float | None = None
        self._until = 0.0
        self._probing = False
        self._changed = asyncio.Event()

    @property
    def remaining_s(self) -> float | None:
        """How long nobody is admitted; None when open."""
        return None if self._closed_since is None else max(0.0, self._until - self._now())

    async def wait(self) -> bool:
        """Return when the caller may send: True if it is the probe, which must then `lift`, `trip` or `unsettle`."""
        while self._closed_since is not None:
            delay = self._until - self._now()
            if delay > 0:
                await self._sleep(delay)
            elif self._probing:
                await self._changed.wait()
            else:
                self._probing = True
                self._changed.clear()
                return True
        return False

    async def sit_out(self) -> None:
        """Return when the time is up, without becoming the probe."""
        while self._closed_since is not None and (delay := self._until - self._now()) > 0:
            await self._sleep(delay)

    def trip(self, retry_after_s: float | None, *, probe: bool, hour_left_s: float | None = None) -> None:
        """Close the host after a 429.

        A pause of our own choice ends soon after the next full hour, in `hour_left_s`, when the limit begins anew.

        Raises: RateLimitedError with `retry` off when the wait would be longer than the user allows.
        """
        now = self._now()
        if self._closed_since is not None and not probe:
            if retry_after_s is not None:
                self._until = max(self._until, now + self._allowed(retry_after_s, now))
            return
        pause_s = self._next_s if retry_after_s is None else max(retry_after_s, LEAST_PAUSE_S)
        self._next_s = min(self._cap_s, self._next_s * 2)
        if retry_after_s is None and hour_left_s is not None and pause_s > hour_left_s:
            pause_s = max(LEAST_PAUSE_S, hour_left_s + AFTER_THE_HOUR_S * self._jitter())
            self._next_s = self._first_s
        if self._closed_since is None:
            self._closed_since = now
        try:
            self._until = max(self._until, now + self._allowed(pause_s, now))  # a straggler may have been told more
        finally:
            self._release_probe()

    def lift(self) -> None:
        """Open the host: the server answered."""
        self._closed_since = None
        self._next_s = self._first_s
        self._release_probe()

    def unsettle(self) -> None:
        """Let another request be the probe: this one met no answer that tells."""
        self._release_probe()

    def _release_probe(self) -> None:
        self._probing = False
        self._changed.set()

    def _allowed(self, pause_s: float, now: float) -> float:
        since = now if self._closed_since is None else self._closed_since
        if now - since + pause_s > self._max_total_s:
            error = RateLimitedError(
                f"rate limited by {self._host}: to wait {pause_s:.0f} s, after {now - since:.0f} s already, is longer"
                f" than --max-wait-s {self._max_total_s:.0f} allows"
            )
            error.retry = False
            raise error
        return pause_s
