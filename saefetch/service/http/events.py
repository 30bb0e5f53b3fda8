"""Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html

A stream that nothing happens on is one waiting task and one timer. It ends when the client goes away, and when the
service stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, cast

import orjson
from aiohttp import web

from saefetch.service.http.given import Given
from saefetch.service.http.table import STREAM
from saefetch.service.shapes import Event

if TYPE_CHECKING:
    from saefetch.service.service import Service

HEARTBEAT = b":\n\n"
BEGIN = b"retry: 2000\n\n"
"""Sent at once, so that the client sees that it is connected: it is to come back after 2 s when it is cut off."""


class Events:
    """The handler of `/v1/events`."""

    def __init__(self, service: Service, heartbeat_s: float) -> None:
        self._service, self._heartbeat_s = service, heartbeat_s

    async def answer(self, request: web.Request, given: Given) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": STREAM, "X-Accel-Buffering": "no"})
        events = cast(AsyncGenerator[Event, None], self._service.events(given["Last-Event-ID"]))
        async with aclosing(events):
            await response.prepare(request)
            with suppress(ConnectionError):  # the client is gone
                await response.write(BEGIN)
                await self._send(events, response)
        return response

    async def _send(self, events: AsyncGenerator[Event, None], response: web.StreamResponse) -> None:
        coming: asyncio.Future[Event] = asyncio.ensure_future(anext(events))
        try:
            while True:
                done, _ = await asyncio.wait([coming], timeout=self._heartbeat_s)
                if not done:
                    await response.write(HEARTBEAT)
                    continue
                try:
                    event = coming.result()
                except StopAsyncIteration:
                    return
                await response.write(render(event))
                coming = asyncio.ensure_future(anext(events))
        finally:
            coming.cancel()
            await asyncio.wait([coming])


def render(event: Event) -> bytes:
    """A browser drops an event without data, so a reset has an empty object."""
    data = orjson.dumps(event["data"] or {})  # in which a line break is \\n
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (event["id"], event["kind"].encode(), data)
