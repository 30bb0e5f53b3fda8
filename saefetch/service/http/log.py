"""A request's id and its line in the log.

A client may give the id, as `X-Request-Id`; every answer has it. The line holds method, path, status and milliseconds:
no header, no query and no body, any of which may hold a secret.

    saefetch.service.log.LOGGER     `extra` of a request's line: request_id, method, path, status, ms
"""

from __future__ import annotations

import logging
import re
import secrets
from contextvars import ContextVar
from itertools import count

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

HEADER = "X-Request-Id"
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request that is being answered. The server answers each request in a task, and so in a context, of its
own."""

_CLEAN = re.compile(r"[A-Za-z0-9._-]{1,64}")
_prefix, _numbers = secrets.token_hex(4), count(1)


def id_of(request: web.BaseRequest) -> str:
    """Return the request's id: the client's own, if it is short and clean."""
    said = REQUEST_ID.get()
    if not said:
        given = request.headers.get(HEADER, "")
        said = given if _CLEAN.fullmatch(given) else f"{_prefix}-{next(_numbers):x}"
        REQUEST_ID.set(said)
    return said


def path_of(request: web.BaseRequest) -> str:
    """Return the path as it was asked for, without the query."""
    return request.rel_url.raw_path


class AccessLog(AbstractAccessLogger):
    """Writes the line of a request. For `web.AppRunner(access_log_class=AccessLog, access_log=LOGGER)`."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        path = path_of(request)[:1000]
        said = {
            "request_id": id_of(request),
            "method": request.method,
            "path": path,
            "status": response.status,
            "ms": round(time * 1e3, 1),
        }
        self.logger.info("%s %s %d", request.method, path, response.status, extra=said)

    @property
    def enabled(self) -> bool:
        return self.logger.isEnabledFor(logging.INFO)
