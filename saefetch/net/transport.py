"""The one door to the network: every request goes through `Transport.send`.

    send: tenacity's loop over attempts, full-jitter exponential backoff, capped in number and in time
     `- attempt: a free slot -> Host.admit (pause, brake, token bucket) -> one HTTP exchange, redirects by hand
         `- body: bytes are counted, unpacked, held to a cap, and fed to the request's sink

Faults of aiohttp, of the sockets and of HTTP become the classes of `saefetch.errors` in `saefetch.net.faults`.
The API key goes with requests to the API's own origin, and never with a hop after a redirect.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Generic, TypeVar
from urllib.request import getproxies, proxy_bypass

import aiohttp
import orjson
from aiolimiter import AsyncLimiter
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception
from yarl import URL

from saefetch.errors import (
    BadAnswerError,
    NotFoundError,
    RateLimitedError,
    RefusedError,
    RequestError,
    RequestRejectedError,
    TooLargeError,
    UnreachableError,
)
from saefetch.net.body import Sink, Unpacked
from saefetch.net.faults import redirect_target, status_error, translate
from saefetch.net.pace import Brake, Host, Now, Pause, Sleep, token_bucket

T = TypeVar("T")
MAX_REDIRECTS = 4


@dataclass(frozen=True, slots=True)
class Request(Generic[T]):
    """What to ask and where the answer goes.

    `sink` gets the response's ETag ("" if there is none) and is called anew for each attempt.
    `divisible` requests are handed back at the first failure that a smaller one may not have. Only those `with_key` may
    carry the API key.
    `max_bytes` is the cap on what a Content-Encoding unpacks to, where it is not `Limits.max_response_bytes`.
    """

    url: str
    sink: Callable[[str], Sink[T]]
    json: Any = None
    content_types: tuple[str, ...] = ()
    divisible: bool = False
    with_key: bool = False
    max_bytes: int | None = None

    @property
    def method(self) -> str:
        return "GET" if self.json is None else "POST"


@dataclass(slots=True)
class Counters:
    """What was done so far. `bytes_received` are body bytes as they came over the wire."""

    requests: int = 0
    retries: int = 0
    rate_limited: int = 0
    bytes_received: int = 0
    parent: Counters | None = None

    def add(self, *, requests: int = 0, retries: int = 0, rate_limited: int = 0, bytes_received: int = 0) -> None:
        """Count, here and in the parent."""
        self.requests += requests
        self.retries += retries
        self.rate_limited += rate_limited
        self.bytes_received += bytes_received
        if self.parent is not None:
            self.parent.add(
                requests=requests, retries=retries, rate_limited=rate_limited, bytes_received=bytes_received
            )


@dataclass(frozen=True, slots=True)
class Limits:
    """How the transport behaves. Sizes in bytes after decompression, times in seconds.

    `requests_per_second` bounds all requests together; where it is None each origin has its own polite rate.
    """

    requests_per_second: float | None = None
    api_requests_per_second: float = 20.0
    export_requests_per_second: float = 200.0
    concurrency: int = 8
    max_attempts: int = 6
    max_wait_s: float = 3900.0
    backoff_base_s: float = 0.5
    backoff_cap_s: float = 30.0
    connect_timeout_s: float = 10.0
    stall_timeout_s: float = 30.0
    total_timeout_s: float = 300.0
    max_response_bytes: int = 32 << 20


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
    _hosts: dict[URL, Host] = field(default_factory=dict)

    async def __aenter__(self) -> Transport:
        limits = self.limits
        self._slots = asyncio.Semaphore(limits.concurrency)
        self._shared = token_bucket(limits.requests_per_second) if limits.requests_per_second else None
        self._session = aiohttp.ClientSession(
            auto_decompress=False,
            connector=aiohttp.TCPConnector(limit=limits.concurrency, keepalive_timeout=4.0),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": self.user_agent, "Accept-Encoding": "gzip"},
            read_bufsize=1 << 16,  # as much as twice this is held for each connection
            timeout=aiohttp.ClientTimeout(
                total=limits.total_timeout_s,
                sock_connect=limits.connect_timeout_s,
                sock_read=limits.stall_timeout_s,
            ),
        )
        self._session._retry_connection = False  # aiohttp sends a GET again by itself, uncounted and past the bucket
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._session.close()

    def with_own_counters(self) -> Transport:
        """Return the same transport, pace and all, with counters of its own, which count in these too."""
        twin = copy(self)
        twin.counters = Counters(parent=self.counters)
        return twin

    @property
    def paused_s(self) -> float | None:
        """How long the longest pause still lasts; None when no origin has told us to wait."""
        pauses = [host.pause.remaining_s for host in self._hosts.values()]
        return max((pause for pause in pauses if pause is not None), default=None)

    @property
    def quota_left(self) -> int | None:
        """The API's last `x-limit-remaining`."""
        host = self._hosts.get(URL(self.api_url).origin())
        return host.brake.remaining if host else None

    async def send(self, request: Request[T]) -> T:
        """Return what the request's sink made of the answer, after as many attempts as it takes and the limits allow.

        Raises: RefusedError, or the RequestError of the last attempt.
        """
        host = self._host(URL(request.url).origin())
        retrying = AsyncRetrying(
            sleep=self.sleep,
            retry=retry_if_exception(lambda exc: isinstance(exc, RequestError) and exc.retry),
            stop=lambda state: self._give_up(state, host, divisible=request.divisible),
            wait=self._backoff_s,
            before_sleep=self._count_retry,
            reraise=True,
        )
        return await retrying(self._attempt, host, request)

    def _host(self, origin: URL) -> Host:
        if origin not in self._hosts:
            pause = Pause(now=self.now, sleep=self.sleep, max_total_s=self.limits.max_wait_s, host=str(origin))
            brake = Brake(now=self.now, sleep=self.sleep)
            self._hosts[origin] = Host(self._limiter(origin), pause, brake, _proxy_for(origin))
        return self._hosts[origin]

    def _limiter(self, origin: URL) -> AsyncLimiter:
        if self._shared is not None:
            return self._shared
        is_api = origin == URL(self.api_url).origin()
        return token_bucket(self.limits.api_requests_per_second if is_api else self.limits.export_requests_per_second)

    # -- retrying --------------------------------------------------------------------------------------------------

    def _backoff_s(self, state: RetryCallState) -> float:
        """Full jitter: anything from 0 to the exponential bound. Never before the server's Retry-After."""
        error = _error_of(state)
        if isinstance(error, RateLimitedError):
            return 0.0  # the host's pause does the waiting, for everybody
        bound = min(self.limits.backoff_cap_s, self.limits.backoff_base_s * 2.0 ** (state.attempt_number - 1))
        return bound * self.jitter() + (error.retry_after_s or 0.0)

    def _give_up(self, state: RetryCallState, host: Host, *, divisible: bool) -> bool:
        error = _error_of(state)
        max_attempts = self.limits.max_attempts
        if isinstance(error, UnreachableError) and not host.answered:
            max_attempts = min(
                max_attempts, 2
            )  # a host that never answered is down, or there is no network: say so soon
        if divisible and error.split and error.retry_after_s is None:
            max_attempts = 1
        waited_s = state.idle_for + state.upcoming_sleep
        if isinstance(error, RateLimitedError) and error.retry_after_s is None:
            return False  # the pause doubles each time, so `max_wait_s` ends it before long
        return state.attempt_number >= max_attempts or waited_s > self.limits.max_wait_s

    def _count_retry(self, state: RetryCallState) -> None:
        self.counters.add(retries=1)

    # -- one attempt -----------------------------------------------------------------------------------------------

    async def _attempt(self, host: Host, request: Request[T]) -> T:
        async with self._slots:
            probe = await host.admit()
            try:
                answer = await self._exchange(request)
            except RateLimitedError as exc:
                self.counters.add(rate_limited=1)
                host.answered = True
                host.pause.trip(exc.retry_after_s, probe=probe)
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

    async def _exchange(self, request: Request[T]) -> T:
        """Do one exchange, following redirects; each hop is a request that passes its own origin's bucket."""
        url, first = URL(request.url), True
        for _ in range(MAX_REDIRECTS + 1):
            if not first:
                await self._host(url.origin()).limiter.acquire()
            answer_or_url = await self._hop(url, request, first_hop=first)
            if not isinstance(answer_or_url, _Redirect):
                return answer_or_url
            url, first = answer_or_url.url, False
        raise RequestRejectedError(f"{request.method} {request.url}: more than {MAX_REDIRECTS} redirects in a row")

    async def _hop(self, url: URL, request: Request[T], *, first_hop: bool) -> T | _Redirect:
        what = f"{request.method} {url}"
        headers = {}
        if first_hop and request.with_key and self.api_key and url.origin() == URL(self.api_url).origin():
            headers["x-api-key"] = self.api_key
        body = None
        if request.json is not None:
            body = orjson.dumps(request.json)
            headers["Content-Type"] = "application/json"
        self.counters.add(requests=1)
        try:
            async with self._session.request(
                request.method,
                url,
                data=body,
                headers=headers,
                allow_redirects=False,
                proxy=self._host(url.origin()).proxy,
            ) as response:
                self._note_quota(url, response)
                if response.status in (301, 302, 303, 307, 308):
                    return _Redirect(redirect_target(what, request.method, url, response))
                if response.status != 200:
                    start = await response.content.read(4096)
                    self.counters.add(bytes_received=len(start))
                    raise status_error(what, response, start)
                return await self._read(what, request, response)
        except (RequestError, RefusedError) as exc:
            self._hide_key(exc)
            raise
        except Exception as exc:
            error = translate(what, url, exc, self._session.timeout)
            self._hide_key(error)
            raise error from exc

    def _hide_key(self, error: RequestError | RefusedError) -> None:
        """Take the key out of a message, in case the server quotes it back."""
        if self.api_key:
            error.args = (str(error).replace(self.api_key, "<the API key>"),)

    async def _read(self, what: str, request: Request[T], response: aiohttp.ClientResponse) -> T:
        if request.content_types and response.content_type not in request.content_types:
            start = await response.content.read(80)
            self.counters.add(bytes_received=len(start))
            said = start.decode("utf-8", "replace")
            raise BadAnswerError(f"{what}: expected {request.content_types[0]}, got {response.content_type}: {said!r}")
        sink = request.sink(response.headers.get("ETag", ""))
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding in ("gzip", "x-gzip", "deflate"):
            encoding = encoding.removeprefix("x-")
            sink = Unpacked(what, encoding, request.max_bytes or self.limits.max_response_bytes, sink)
        elif encoding not in ("", "identity"):
            raise BadAnswerError(f"{what}: Content-Encoding {encoding} was not asked for")
        async for data in response.content.iter_any():
            self.counters.add(bytes_received=len(data))
            await sink.feed(data)
        return await sink.finish()

    def _note_quota(self, url: URL, response: aiohttp.ClientResponse) -> None:
        remaining = response.headers.get("x-limit-remaining", "")
        if response.status == 200 and remaining.isascii() and remaining.isdigit():
            self._host(url.origin()).brake.note(int(remaining[:9]))


@dataclass(frozen=True, slots=True)
class _Redirect:
    url: URL


def _proxy_for(origin: URL) -> str | None:
    """Return the proxy that the environment names for this origin (HTTPS_PROXY, NO_PROXY, ...), never for loopback."""
    host = origin.host or ""
    if host == "localhost" or host.startswith("127.") or host == "::1" or proxy_bypass(host):
        return None
    return getproxies().get(origin.scheme)


def _error_of(state: RetryCallState) -> RequestError:
    error = state.outcome.exception() if state.outcome else None
    if not isinstance(error, RequestError):
        raise AssertionError("tenacity asked about something that is not retried")
    return error
