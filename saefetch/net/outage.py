"""An outage: one asks whether the server is back, all others wait.

    well --settle, and the probe fails--> down --the probe, ever more rarely--> well
                                           `--down for too long--> UnreachableError for everybody

A single failure says little: a row may be poisoned, an answer may be cut. So whoever suspects an outage calls `settle`
with a probe: a small request that a server which is well can answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from saefetch.errors import RequestError, UnreachableError
from saefetch.net.clock import Now, Sleep

Probe = Callable[[], Awaitable[RequestError | None]]
"""Asks once; returns None if the server answered, else what went wrong."""
MAX_OUTAGE_S = 120.0
"""How long a server that has answered in this run is waited for, where `max_wait_s` allows as much."""


class Outage:
    """The outage of one host that all requests share. Durations in seconds, on the clock `now`."""

    def __init__(
        self,
        *,
        now: Now,
        sleep: Sleep,
        jitter: Callable[[], float],
        max_total_s: float,
        first_s: float = 1.0,
        cap_s: float = 8.0,
        host: str = "the server",
    ) -> None:
        self._now, self._sleep, self._jitter, self._host = now, sleep, jitter, host
        self._max_total_s, self._first_s, self._cap_s = max_total_s, first_s, cap_s
        self._asking = asyncio.Lock()
        self._n_findings = 0
        self._finding: bool | UnreachableError = True
        self._well = asyncio.Event()
        self._well.set()

    @property
    def is_on(self) -> bool:
        return not self._well.is_set()

    async def wait(self) -> None:
        """Return when there is no outage."""
        await self._well.wait()

    async def settle(self, probe: Probe, known: UnreachableError | None = None) -> bool:
        """Find out whether the server is well, and wait until it is; return whether it was well from the beginning.

        Where somebody is finding out already, that finding is returned. With `known`, a refused connection, the server
        is down for certain.

        Raises: UnreachableError, which is not to be retried, when the server is down for too long.
        """
        n_before = self._n_findings
        async with self._asking:
            if self._n_findings == n_before:
                try:
                    self._finding = await self._find_out(probe, known)
                except UnreachableError as exc:
                    self._finding = exc
                finally:
                    self._well.set()
                self._n_findings += 1
            if isinstance(self._finding, UnreachableError):
                raise self._finding
            return self._finding

    async def _find_out(self, probe: Probe, known: UnreachableError | None) -> bool:
        began, pause_s = self._now(), self._first_s
        error: RequestError | None = known or await probe()
        if error is None:
            return True
        self._well.clear()
        while error is not None:
            left_s = began + self._max_total_s - self._now()
            if left_s <= 0:
                raise self._given_up(error)
            # Half of the pause is left to chance, so that many clients do not come back at the same moment.
            await self._sleep(min(left_s, pause_s * (0.5 + self._jitter() / 2)))
            pause_s = min(self._cap_s, 2 * pause_s)
            error = await probe()
        return False

    def _given_up(self, error: RequestError) -> UnreachableError:
        given_up = UnreachableError(
            f"{self._host} keeps failing, for {self._max_total_s:.0f} s now, so this run stops;"
            f" the last failure: {error}"
        )
        given_up.retry = False
        return given_up
