"""The server, from its first to its last moment."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web

from dashboard.errors import DashboardError
from dashboard.model.data import Data
from dashboard.page import WebFiles
from dashboard.server.guard import Guard
from dashboard.server.proxy import Proxy
from dashboard.server.routes import Routes

if TYPE_CHECKING:
    from dashboard.server.jobs import JobsRoutes
    from saefetch.service.service import Service

SHUTDOWN_S = 1.0
_SILENT = logging.Logger("sae-dashboard", logging.CRITICAL + 1)
"""Takes the place of aiohttp's logger, which writes a traceback for every client that does not speak HTTP. `Guard`
reports what goes wrong."""


def make_app(data: Data, guard: Guard, jobs: JobsRoutes | None = None) -> web.Application:
    app = web.Application(middlewares=[guard.middleware, *([jobs.middleware] if jobs else [])])
    app.on_response_prepare.append(guard.add_headers)
    if jobs is not None:  # first, as the last route of the others takes all that is left
        jobs.add_to(app, guard.proxy.base_path)
    Routes(data, WebFiles(), guard.proxy.base_path).add_to(app)
    return app


@asynccontextmanager
async def listening(
    data: Data, host: str, port: int, proxy: Proxy | None = None, service: Service | None = None
) -> AsyncIterator[str]:
    """Serve for the block; yield the address to open, with the token if one is needed.

    The jobs of `service` are worked off meanwhile; in the end they go back into its queue.

    Raises: DashboardError if the address cannot be listened at; LockedError where another service has the data folder.
    """
    async with AsyncExitStack() as stack:
        jobs = None
        if service is not None:
            from dashboard.server.jobs import JobsRoutes

            jobs = JobsRoutes(await stack.enter_async_context(service))
        guard = Guard(host, proxy, data.settings.places.hide, *([jobs.has] if jobs else []))
        async with _listening(data, guard, host, port, jobs) as address:
            yield address


@asynccontextmanager
async def _listening(data: Data, guard: Guard, host: str, port: int, jobs: JobsRoutes | None) -> AsyncIterator[str]:
    app = make_app(data, guard, jobs)
    is_streaming = jobs is not None  # a stream ends when its client goes away, not with the next thing it would say
    runner = web.AppRunner(
        app, access_log=None, logger=_SILENT, shutdown_timeout=SHUTDOWN_S, handler_cancellation=is_streaming
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as exc:
            raise DashboardError(_cannot_listen(host, port, exc)) from exc
        guard.port = runner.addresses[0][1]
        yield address_of(host, guard)
    finally:
        if jobs is not None:
            jobs.service.close()  # which ends the streams of events
        await runner.cleanup()


async def serve(
    data: Data,
    host: str,
    port: int,
    on_listening: Callable[[str], None],
    proxy: Proxy | None = None,
    service: Service | None = None,
) -> int:
    """Serve until SIGINT or SIGTERM; return 128 + the signal. `on_listening` gets the address to open."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def end(number: int) -> None:
        if not ended.done():
            ended.set_result(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end, number)
    async with listening(data, host, port, proxy, service) as address:
        on_listening(address)
        return 128 + await ended


def address_of(host: str, guard: Guard) -> str:
    """Return the address to open, with the token if one is needed."""
    is_any = host in ("", "0.0.0.0", "::")
    name = os.uname().nodename if is_any else f"[{host}]" if ":" in host else host
    return f"http://{name}:{guard.port}{guard.proxy.base_path}/" + (f"?token={guard.token}" if guard.token else "")


def _cannot_listen(host: str, port: int, exc: OSError) -> str:
    if exc.errno == errno.EADDRINUSE:
        return f"port {port} is in use, perhaps by another sae-dashboard; choose another: --port {port + 1}"
    if exc.errno == errno.EACCES:
        return f"port {port} is not for everyone; choose one from 1024 on, such as --port 8765"
    return f"cannot listen at {host} port {port}: {exc.strerror or exc}"
