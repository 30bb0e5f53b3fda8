"""The server under the application: limits of a connection, and refusals of what is not even a request.

What aiohttp refuses by itself, before there is a request that the application could see, is a problem document too.
"""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler

from saefetch.service.http.app import set_headers
from saefetch.service.http.log import LOGGER, AccessLog, path_of
from saefetch.service.http.problems import NOT_OUR_WORDS, Problem, problem_of, render

KEEPALIVE_S = 75.0
FIRST_REQUEST_S = 20.0
LINGERING_S = 0.5
"""How long an answer to a body that was not read to its end may be read by the client, before the connection ends."""
MAX_LINE = 8190
_SILENT = logging.Logger("saefetch.service.http", logging.CRITICAL + 1)
"""Takes the place of aiohttp's logger, which writes a traceback for every client that does not speak HTTP."""


def make_runner(app: web.Application, *, shutdown_timeout: float = 2.0, access_log: bool = True) -> web.AppRunner:
    """Make the runner that serves an application of `make_app`.

    A handler is cancelled when its client goes away, so a stream of events ends at once. With `access_log` each request
    writes a line to the logger `saefetch.service`.
    """
    return _Runner(
        app,
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

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._silence = asyncio.get_running_loop().call_later(FIRST_REQUEST_S, self._close_if_silent)

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
    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Runner(web.AppRunner):
    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            loop=made._loop,
            **made._kwargs,
        )
