"""A server of the tests in a thread, with an event loop of its own, against which commands and browsers are run.

A server says by `serving` what it is between its first and its last moment:

    class Mine(InThread):
        @asynccontextmanager
        async def serving(self) -> AsyncIterator[None]:
            async with listening(self.app) as self.port:
                yield
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Self

from aiohttp import web


class InThread:
    """Serves for the block, or from `with` until `stop`."""

    def __init__(self) -> None:
        self._is_up, self._began = False, threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def serving(self) -> AbstractAsyncContextManager[object]:
        """Serve until the block's end."""
        raise NotImplementedError

    async def _serve(self) -> None:
        self._loop, self._ends = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with self.serving():
                self._is_up = True
                self._began.set()
                await self._ends.wait()
        finally:
            self._began.set()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._began.wait(120) and self._is_up
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it, unless it has ended."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ends.set)
            self._thread.join()


@asynccontextmanager
async def listening(app: web.Application, **knobs: Any) -> AsyncIterator[int]:
    """Serve an application on a free port of loopback, which is yielded."""
    runner = web.AppRunner(app, **knobs)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
