"""The stand-in as a server: two origins on loopback, a limiter, a log of every request, and scripted faults.

    async with Standin(world) as s:         with Standin(world) as s:       # the same, in a thread of its own
        fetch(s.api_url, s.export_url)          fetch(...)

API and export listen on different ports, so that a key that leaks across origins is seen.
"""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterable
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

import orjson
from aiohttp import web

from standin.api import Api, FeatureKey, too_many
from standin.bucket import Bucket
from standin.faults import Fault
from standin.limiter import Limiter
from standin.payload import Payload
from standin.s3 import S3
from standin.sending import KEEP_ALIVE_S, drop_unasked_headers, send
from standin.wire import Origin, Record, Reply
from standin.world import World

STATS_PATH: Final = "/-/stats"
_MAX_BODY: Final = 64 << 20
_T = TypeVar("_T")


class Standin:
    """A Neuronpedia on loopback.

    `requests` logs what came, with its time on `clock`. Answers take no time of their own: `max_in_flight` says nothing
    without a `latency_s`. `api_limit` requests an hour are let through, counted over everything on the API's origin,
    with a wall until the full hour of `wall`, seconds since 1970; that is also what `Date` says. `key` is the one API
    key that `Standin.knows` recognizes; without it, or with another, everything can be read all the same.
    """

    def __init__(
        self,
        world: World,
        *,
        faults: Iterable[Fault] = (),
        api_limit: int = 25_000,
        key: str | None = None,
        latency_s: float = 0.0,
        port: int = 0,
        export_port: int = 0,
        spool: Path | None = None,
        lean: bool = False,
        features_batch: int = 1024,
        explanations_batch: int = 512,
        max_keys: int = 1000,
        gzip_header: bool = False,
        nan_features: Collection[FeatureKey] = (),
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] | None = None,
    ) -> None:
        payload = Payload(lean=lean)
        self.world = world
        self.bucket = Bucket(
            world, payload, spool=spool, features_batch=features_batch, explanations_batch=explanations_batch
        )
        self.faults = list(faults)
        self.requests: list[Record] = []
        self.bytes_sent = 0
        self.max_in_flight = 0
        self.api_url = ""
        self.export_url = ""
        self._api = Api(world, payload, nan_features)
        self._s3 = S3(self.bucket, max_keys=max_keys, gzip_header=gzip_header)
        self._key, self._latency_s = key, latency_s
        self._wall = wall or time.time
        self._limiter = Limiter(api_limit, self._wall)
        self._ports: dict[Origin, int] = {"api": port, "export": export_port}
        self._clock = clock
        self._in_flight = 0
        self._runners: list[web.AppRunner] = []
        self._thread: _LoopThread | None = None

    async def __aenter__(self) -> Self:
        self.api_url = await self._listen("api")
        self.export_url = await self._listen("export")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._runners:
            await self._runners.pop().cleanup()

    def __enter__(self) -> Self:
        self._thread = _LoopThread()
        return self._thread.run(self.__aenter__())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._thread.run(self.__aexit__(kind, error, trace))
            self._thread.stop()
            self._thread = None

    def knows(self, record: Record) -> bool:
        """Tell whether the request came with the right API key."""
        return self._key is not None and record.headers.get("x-api-key") == self._key

    def stats(self) -> dict[str, int | dict[str, int]]:
        """Return the counts of what was asked and sent so far."""
        by_path = Counter({"GET /api/feature": 0, "POST /api/features": 0, "LIST": 0, "OBJECT": 0})
        by_path.update(map(_kind, self.requests))
        return {
            "requests": len(self.requests),
            "bytes_sent": self.bytes_sent,
            "by_path": dict(by_path),
            "max_in_flight": self.max_in_flight,
        }

    async def refuse_connections(self, seconds: float) -> None:
        """Be restarted: for a while nobody listens on the API's port, and the connections that were open are closed."""
        self._ports["api"] = int(self.api_url.rpartition(":")[2])
        await self._runners.pop(0).cleanup()
        await asyncio.sleep(seconds)
        await self._listen("api")
        self._runners.insert(0, self._runners.pop())

    async def _listen(self, origin: Origin) -> str:
        async def handle(request: web.Request) -> web.StreamResponse:
            if origin == "api" and request.path == STATS_PATH:
                return web.Response(body=orjson.dumps(self.stats()), content_type="application/json")
            return await self._handle(origin, request)

        app = web.Application(client_max_size=_MAX_BODY)
        app.router.add_route("*", "/{path:.*}", handle)
        app.on_response_prepare.append(drop_unasked_headers)
        runner = web.AppRunner(
            app, access_log=None, keepalive_timeout=KEEP_ALIVE_S, handler_cancellation=True, shutdown_timeout=0.1
        )
        await runner.setup()
        self._runners.append(runner)
        site = web.TCPSite(runner, "127.0.0.1", self._ports[origin], backlog=1024)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def _handle(self, origin: Origin, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        record = Record(self._clock(), origin, request.method, request.raw_path, request.headers, body)
        self.requests.append(record)
        self._in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self._in_flight)
        try:
            reply = await self._reply(record)
            record.status = reply.status
            if self._latency_s + reply.delay_s:
                await asyncio.sleep(self._latency_s + reply.delay_s)
            reply = replace(reply, headers={"Date": formatdate(self._wall(), usegmt=True), **reply.headers})
            self.bytes_sent += len(reply.body) if reply.cut is None else max(0, min(reply.cut, len(reply.body)))
            return await send(request, reply)
        finally:
            self._in_flight -= 1

    async def _reply(self, record: Record) -> Reply:
        action = next((fault.action for fault in self.faults if fault.takes(record)), None)
        if action and action.replaces:
            return action.apply(Reply(), record)
        if record.origin == "export":
            reply = await asyncio.to_thread(self._s3.answer, record)
        else:
            reply = self._answer_within_limit(record)
        return action.apply(reply, record) if action else reply

    def _answer_within_limit(self, record: Record) -> Reply:
        remaining = self._limiter.remaining()
        if remaining is None:
            return too_many(self._limiter.limit)
        reply = self._api.answer(record)
        if reply.status != 200:
            return reply
        return Reply(reply.status, {**reply.headers, "x-limit-remaining": str(remaining)}, reply.body)


class _LoopThread:
    """An event loop in a thread, for tests that are not async."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="standin", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[None, None, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _kind(record: Record) -> str:
    path = record.path.partition("?")[0]
    if record.origin == "export":
        return "LIST" if path == "/" else "OBJECT"
    return f"{record.method} /api/feature" if path.startswith("/api/feature/") else f"{record.method} {path}"
