"""Errors as problem documents (RFC 9457): one class to raise, one function that renders."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from aiohttp import web

from saefetch.errors import StoreError, UsageError
from saefetch.service.errors import ClosingError, ConflictError, NoSuchJobError
from saefetch.terminal.output import printable

PROBLEM_TYPE = "application/problem+json"
NOT_OUR_WORDS = "this is a bug of saefetch; the service's log has the rest, under this answer's X-Request-Id"
RETRY_LATER = {"Retry-After": "30"}
WORDS = {
    404: "there is nothing at this address; /openapi.json lists all that there is",
    405: "this address is for other methods, which the header Allow names",
}
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Server": "saefetch",
}
"""Of every answer."""


class Problem(Exception):
    """Ends a request with a problem document. `members` are added to the five of every document."""

    def __init__(
        self, status: int, detail: str, headers: Mapping[str, str] | None = None, **members: str | None
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers or {})
        self.members = {name: value for name, value in members.items() if value is not None}


def render(problem: Problem, path: str) -> web.Response:
    """Make the answer. `path` is that of the request, without its query, which may hold a secret."""
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": title_of(problem.status),
        "status": problem.status,
        "detail": printable(problem.detail),
        "instance": path.encode("ascii", "replace").decode()[:1000],
    }
    document |= {name: printable(value) for name, value in problem.members.items()}
    headers = {**problem.headers, "Content-Type": PROBLEM_TYPE}
    response = web.Response(status=problem.status, body=orjson.dumps(document), headers=headers)
    if problem.status in (408, 413):  # the rest of the body is not waited for
        response.force_close()
    return response


def title_of(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def problem_of(exc: Exception) -> Problem | None:
    """Return the problem that an error on purpose is; None for one that nobody meant."""
    match exc:
        case Problem():
            return exc
        case NoSuchJobError():
            return Problem(404, str(exc))
        case ConflictError():
            return Problem(409, str(exc), job_id=exc.job_id)
        case UsageError():
            return Problem(422, str(exc))
        case StoreError():
            words = "a store cannot be read at the moment; the service's log says which and why"
            return Problem(503, words, RETRY_LATER)
        case ClosingError():
            return Problem(503, str(exc), RETRY_LATER)
        case web.HTTPException():
            headers = {"Allow": exc.headers["Allow"]} if "Allow" in exc.headers else {}
            return Problem(exc.status, WORDS.get(exc.status, exc.reason), headers)
    return None
