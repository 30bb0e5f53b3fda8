"""When one origin may be asked: a token bucket, the brake before the quota's end, the pause after a 429, an outage."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypedDict
from urllib.request import getproxies, proxy_bypass

from aiolimiter import AsyncLimiter
from yarl import URL

from saefetch.net.brake import Brake
from saefetch.net.clock import Now, Sleep
from saefetch.net.outage import MAX_OUTAGE_S, Outage
from saefetch.net.pause import Pause
from saefetch.net.request import Limits


def token_bucket(requests_per_second: float) -> AsyncLimiter:
    """Make a bucket with that rate and one second's worth as its burst, but never less than one request."""
    if requests_per_second < 1:
        return AsyncLimiter(1, 1 / requests_per_second)
    return AsyncLimiter(requests_per_second, 1)


class Host:
    """All that paces the requests to one origin, the proxy on the way, and whether it ever answered in this run."""

    def __init__(
        self,
        limiter: AsyncLimiter,
        pause: Pause,
        brake: Brake,
        outage: Outage,
        proxy: str | None = None,
        now: Now = time.monotonic,
    ) -> None:
        self.pause, self.brake, self.outage, self.proxy = pause, brake, outage, proxy
        self._limiter, self._now = limiter, now
        self.answered = False
        self.waited_s = 0.0
        """How long requests waited for the bucket and the brake, each counted by itself."""

    async def acquire(self) -> None:
        """Wait for the bucket."""
        began = self._now()
        try:
            await self._limiter.acquire()
        finally:
            self.waited_s += self._now() - began

    async def _slow_down(self) -> None:
        began = self._now()
        try:
            await self.brake.wait()
        finally:
            self.waited_s += self._now() - began

    async def admit(self) -> bool:
        """Wait for the end of outage and pause, for the brake and the bucket.

        Return True if the caller is the probe after a pause.
        """
        while True:
            await self.outage.wait()
            probe = await self.pause.wait()
            try:
                if not probe:
                    await self._slow_down()
                await self.acquire()
            except BaseException:
                if probe:
                    self.pause.unsettle()
                raise
            if probe or (self.pause.remaining_s is None and not self.outage.is_on):
                return probe


class _Clock(TypedDict):
    now: Now
    sleep: Sleep


class Hosts:
    """The `Host` of each origin, made when it is first asked for. `limits` are the transport's."""

    def __init__(self, limits: Limits, api_url: str, now: Now, sleep: Sleep, jitter: Callable[[], float]) -> None:
        self._limits, self._now, self._sleep, self._jitter = limits, now, sleep, jitter
        self._api_origin = URL(api_url).origin()
        self._shared = token_bucket(limits.requests_per_second) if limits.requests_per_second else None
        self._hosts: dict[URL, Host] = {}

    def of(self, url: URL) -> Host:
        origin = url.origin()
        if origin not in self._hosts:
            name, max_wait_s = str(origin), self._limits.max_wait_s
            clock: _Clock = {"now": self._now, "sleep": self._sleep}
            pause = Pause(**clock, jitter=self._jitter, max_total_s=max_wait_s, host=name)
            outage = Outage(**clock, jitter=self._jitter, max_total_s=min(MAX_OUTAGE_S, max_wait_s), host=name)
            limiter, brake = self._limiter(origin), Brake(**clock)
            self._hosts[origin] = Host(limiter, pause, brake, outage, proxy_for(origin), self._now)
        return self._hosts[origin]

    def _limiter(self, origin: URL) -> AsyncLimiter:
        if self._shared is not None:
            return self._shared
        limits = self._limits
        is_api = origin == self._api_origin
        return token_bucket(limits.api_requests_per_second if is_api else limits.export_requests_per_second)

    @property
    def paused_s(self) -> float | None:
        """How long the longest pause still lasts; None when no origin has told us to wait."""
        pauses = [host.pause.remaining_s for host in self._hosts.values()]
        return max((pause for pause in pauses if pause is not None), default=None)

    @property
    def waited_s(self) -> float:
        """How long requests have waited for the buckets and the brakes, each counted by itself."""
        return sum(host.waited_s for host in self._hosts.values())

    @property
    def is_down(self) -> bool:
        """Whether an origin that has answered is waited for."""
        return any(host.outage.is_on for host in self._hosts.values())

    @property
    def quota_left(self) -> int | None:
        """The API's last `x-limit-remaining`."""
        host = self._hosts.get(self._api_origin)
        return host.brake.remaining if host else None


def proxy_for(origin: URL) -> str | None:
    """Return the proxy that the environment names for this origin (HTTPS_PROXY, NO_PROXY, ...), never for loopback."""
    host = origin.host or ""
    if host == "localhost" or host.startswith("127.") or host == "::1" or proxy_bypass(host):
        return None
    return getproxies().get(origin.scheme)
