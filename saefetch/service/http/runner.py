"""The server under the application: limits of a connection, and refusals of what is not even a request.

What aiohttp refuses by itself, before there is a request that the application could see, is a problem document too.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import orjson
from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler

from saefetch.service.http.app import set_headers
from saefetch.service.http.log import AccessLog, path_of
from saefetch.service.http.problems import NOT_OUR_WORDS, PROBLEM_TYPE, Problem, problem_of, render, title_of
from saefetch.service.log import LOGGER

KEEPALIVE_S = 75.0
FIRST_REQUEST_S = 20.0
MAX_CONNECTIONS = 512
"""Half of the files that a process may usually have open."""
LINGERING_S = 0.5
"""How long an answer to a body that was not read to its end may be read by the client, before the connection ends."""
MAX_LINE = 8190
_BUSY_BODY = orjson.dumps(
    {
        "type": "about:blank",
        "title": title_of(503),
        "status": 503,
        "detail": "too many connections are open; ask again later",
        "instance": "/",
    }
)
_BUSY = (
    f"HTTP/1.1 503 {title_of(503)}\r\nContent-Type: {PROBLEM_TYPE}\r\nRetry-After: 5\r\n"
    f"Content-Length: {len(_BUSY_BODY)}\r\nConnection: close\r\n\r\n"
).encode() + _BUSY_BODY
_SILENT = logging.Logger("saefetch.service.http", logging.CRITICAL + 1)
"""Takes the place of aiohttp's logger, which writes a traceback for every client that does not speak HTTP."""


def make_runner(
    app: web.Application,
    *,
    shutdown_timeout: float = 2.0,
    access_log: bool = True,
    max_connections: int = MAX_CONNECTIONS,
    first_request_s: float = FIRST_REQUEST_S,
) -> web.AppRunner:
    """Make the runner that serves an application of `make_app`.

    A connection over `max_connections` is told so and closed, and one on which no request comes within
    `first_request_s`.
    A handler is cancelled when its client goes away, so a stream of events ends at once. With `access_log` each request
    writes a line to the logger `saefetch.service`.
    """
    return _Runner(
        app,
        max_connections,
        first_request_s,
        access_log=LOGGER if access_log else None,
        access_log_class=AccessLog,
        logger=_SILENT,
        shutdown_timeout=shutdown_timeout,
        handler_cancellation=True,
        keepalive_timeout=KEEPALIVE_S,
        lingering_time=LINGERING_S,
        auto_decompress=False,
        max_line_size=MAX_LINE,
        max_field_size=MAX_LINE,
    )


class _Connection(RequestHandler):
    """One client's connection."""

    _silence: asyncio.TimerHandle | None = None

    def __init__(self, server: _Server, **knobs: Any) -> None:
        super().__init__(server, **knobs)
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if len(self._server.connections) > self._server.max_connections:
            assert isinstance(transport, asyncio.WriteTransport)
            transport.write(_BUSY)
            self.force_close()
            return
        self._silence = asyncio.get_running_loop().call_later(self._server.first_request_s, self._close_if_silent)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._silence is not None:
            self._silence.cancel()
        super().connection_lost(exc)

    def _close_if_silent(self) -> None:
        if not self._request_count:
            self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Refuse what is no request; or, with a line in the log, answer for a bug below the application."""
        if request.writer.output_size:
            raise ConnectionError("half an answer is out")
        if isinstance(exc, LineTooLong):
            problem = Problem(431, f"the address or a header is longer than {MAX_LINE:,} bytes")
        elif status == 400:
            problem = Problem(400, "this is not an HTTP request")
        else:
            LOGGER.error("%s %s", request.method, path_of(request), exc_info=exc)
            problem = Problem(500, NOT_OUR_WORDS)
        response = render(problem, path_of(request))
        set_headers(request, response)  # no signal is sent for what the application does not see
        response.force_close()
        return response

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        if isinstance(resp, web.HTTPException) and (problem := problem_of(resp)) is not None:
            resp = render(problem, path_of(request))
        return await super().finish_response(request, resp, start_time)


class _Server(web.Server):
    max_connections, first_request_s = MAX_CONNECTIONS, FIRST_REQUEST_S

    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Runner(web.AppRunner):
    def __init__(self, app: web.Application, max_connections: int, first_request_s: float, **knobs: Any) -> None:
        super().__init__(app, **knobs)
        self._max_connections, self._first_request_s = max_connections, first_request_s

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        server = _Server(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            loop=made._loop,
            **made._kwargs,
        )
        server.max_connections, server.first_request_s = self._max_connections, self._first_request_s
        return server
