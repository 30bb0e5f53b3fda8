"""The one door to the network: every request goes through `Transport.send`.

    send: waits as long as it takes where a host that has answered is being restarted (outage.py)
     `- tenacity's loop over attempts, full-jitter exponential backoff, capped in number and in time
         `- attempt: a free slot -> Host.admit (outage, pause, brake, token bucket) -> one exchange (exchange.py)
             `- body: bytes are counted, unpacked, held to a cap, and fed to the request's sink (body.py)

All jobs of a run share one transport, and with it the pace, the pauses and the outages of each host.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception
from yarl import URL

from saefetch.errors import (
    BadAnswerError,
    BrokenBodyError,
    NotFoundError,
    RateLimitedError,
    RefusedError,
    RequestError,
    RequestRejectedError,
    ServerError,
    TimedOutError,
    TooLargeError,
    UnreachableError,
)
from saefetch.net.clock import Now, Sleep
from saefetch.net.exchange import Exchange
from saefetch.net.pace import Host, Hosts
from saefetch.net.request import Counters, Limits, Request

T = TypeVar("T")
ATTEMPTS_WHERE_NOBODY_ANSWERED = 2
"""A host that never answered is down, or there is no network: that is to be said soon."""


@dataclass
class Transport:
    """Send requests politely. Use as an async context manager.

    `api_url` names the origin that gets `api_key`. `now`, `sleep` and `jitter` (a number in [0, 1)) are for tests.
    """

    limits: Limits
    api_url: str
    api_key: str | None = None
    user_agent: str = "saefetch"
    now: Now = time.monotonic
    sleep: Sleep = asyncio.sleep
    jitter: Callable[[], float] = random.random
    counters: Counters = field(default_factory=Counters)

    def __post_init__(self) -> None:
        self.hosts = Hosts(self.limits, self.api_url, self.now, self.sleep, self.jitter)

    async def __aenter__(self) -> Transport:
        self._slots = asyncio.Semaphore(self.limits.concurrency)
        self._exchange = Exchange(self.limits, self.api_url, self.api_key, self.user_agent, self.hosts)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._exchange.close()

    def with_own_counters(self) -> Transport:
        """Return the same transport, pace and all, with counters of its own, which count in these too."""
        twin = copy(self)
        twin.counters = Counters(parent=self.counters)
        return twin

    @property
    def paused_s(self) -> float | None:
        return self.hosts.paused_s

    @property
    def waited_s(self) -> float:
        return self.hosts.waited_s

    @property
    def is_down(self) -> bool:
        return self.hosts.is_down

    @property
    def quota_left(self) -> int | None:
        return self.hosts.quota_left

    async def send(self, request: Request[T]) -> T:
        """Return what the request's sink made of the answer, after as many attempts as it takes and the limits allow.

        A host that has answered in this run and now refuses connections is being restarted: it is waited for by time,
        with one request that tries for all.

        Raises: RefusedError, or the RequestError of the last attempt.
        """
        host = self.hosts.of(URL(request.url))
        for _ in range(self.limits.max_attempts):
            try:
                return await self._send(host, request)
            except UnreachableError as exc:
                if not (exc.retry and host.answered):
                    raise
                found: list[T] = []
                await host.outage.settle(partial(self._probe, host, request, found), exc)
                if found:
                    return found[0]
        return await self._send(host, request)

    async def is_well(self, small: Callable[[], Request[Any]]) -> bool:
        """Ask, with a small request, whether its host is well, and wait until it is: see `Outage.settle`."""
        host = self.hosts.of(URL(small().url))
        return await host.outage.settle(lambda: self._probe(host, small(), []))

    async def back_off(self, n_tries: int) -> None:
        """Wait before somebody tries again by himself, as `send` does between its attempts."""
        self.counters.add(retries=1)
        await self.sleep(self._bound_s(n_tries) * self.jitter())

    async def _send(self, host: Host, request: Request[T]) -> T:
        def may_retry(exc: BaseException) -> bool:
            restarting = isinstance(exc, UnreachableError) and host.answered
            return isinstance(exc, RequestError) and exc.retry and not restarting

        retrying = AsyncRetrying(
            sleep=self.sleep,
            retry=retry_if_exception(may_retry),
            stop=lambda state: self._give_up(state, host, divisible=request.divisible),
            wait=self._backoff_s,
            before_sleep=lambda _: self.counters.add(retries=1),
            reraise=True,
        )
        return await retrying(self._attempt, host, request)

    def _backoff_s(self, state: RetryCallState) -> float:
        """Full jitter: anything from 0 to the exponential bound. Never before the server's Retry-After."""
        error = _error_of(state)
        if isinstance(error, RateLimitedError):
            return 0.0  # the host's pause does the waiting, for everybody
        return self._bound_s(state.attempt_number) * self.jitter() + (error.retry_after_s or 0.0)

    def _bound_s(self, n_tries: int) -> float:
        return float(min(self.limits.backoff_cap_s, self.limits.backoff_base_s * 2.0 ** (n_tries - 1)))

    def _give_up(self, state: RetryCallState, host: Host, *, divisible: bool) -> bool:
        error = _error_of(state)
        max_attempts = self.limits.max_attempts
        if isinstance(error, UnreachableError) and not host.answered:
            max_attempts = min(max_attempts, ATTEMPTS_WHERE_NOBODY_ANSWERED)
        if divisible and error.split and error.retry_after_s is None:
            max_attempts = 1
        waited_s = state.idle_for + state.upcoming_sleep
        if isinstance(error, RateLimitedError) and error.retry_after_s is None:
            return False  # the pause doubles each time, so `max_wait_s` ends it before long
        return state.attempt_number >= max_attempts or waited_s > self.limits.max_wait_s

    async def _attempt(self, host: Host, request: Request[T]) -> T:
        async with self._slots:
            probe = await host.admit()
            try:
                answer = await self._exchange.send(request, self.counters)
            except RateLimitedError as exc:
                self.counters.add(rate_limited=1)
                host.answered = True
                host.pause.trip(exc.retry_after_s, probe=probe, hour_left_s=exc.hour_left_s)
                raise
            except (RefusedError, NotFoundError, TooLargeError, RequestRejectedError, BadAnswerError):
                host.answered = True
                if probe:
                    host.pause.lift()
                raise
            except BaseException:
                if probe:
                    host.pause.unsettle()
                raise
            host.answered = True
            if probe:
                host.pause.lift()
            return answer

    async def _probe(self, host: Host, request: Request[T], found: list[T]) -> RequestError | None:
        """Ask once, past the slots, whose holders wait for the outage's end; return what says that the host is down."""
        await host.pause.sit_out()
        await host.acquire()
        self.counters.add(retries=1)
        try:
            found.append(await self._exchange.send(request, self.counters))
        except RateLimitedError as exc:
            self.counters.add(rate_limited=1)
            host.pause.trip(exc.retry_after_s, probe=False, hour_left_s=exc.hour_left_s)
        except (ServerError, TimedOutError, UnreachableError, BrokenBodyError, BadAnswerError) as exc:
            return exc
        except (RefusedError, RequestError):  # an answer, if not the one hoped for
            pass
        return None


def _error_of(state: RetryCallState) -> RequestError:
    error = state.outcome.exception() if state.outcome else None
    if not isinstance(error, RequestError):
        raise AssertionError("tenacity asked about something that is not retried")
    return error
