"""What the tests of the service's HTTP face share: the real server in a thread, and requests sent as they are written.

Every answer to `Served.ask` is checked against the service's own OpenAPI document.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web
from harness import settings_for
from in_thread import InThread
from jsonschema import Draft202012Validator

from saefetch.service.http import openapi
from saefetch.service.http.app import make_app
from saefetch.service.http.guard import Guard
from saefetch.service.http.runner import make_runner
from saefetch.service.service import Service
from standin import Standin

T = TypeVar("T")
DOCUMENT = json.loads(json.dumps(openapi.document(mirror=True)))
JSON_TYPES = ("application/json", "application/problem+json")


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def problem(self) -> dict[str, Any]:
        """Return the answer as the problem document that it has to be."""
        assert self.headers["Content-Type"] == "application/problem+json", (self.status, self.body)
        document: dict[str, Any] = self.json
        assert document["status"] == self.status and document["type"] == "about:blank"
        assert {"title", "detail", "instance"} <= set(document) and "\n" not in document["detail"]
        return document


class Served(InThread):
    """A service and its server on a free port of loopback, for the block; upstream is a stand-in, or nowhere."""

    def __init__(
        self,
        data_dir: Path,
        standin: Standin | None = None,
        *,
        token: str | None = None,
        mirror: bool = True,
        heartbeat_s: float = 15.0,
        body_s: float = 20.0,
        port: int = 0,
        runner: dict[str, Any] | None = None,
        make_service: Callable[..., Any] = Service,
        **knobs: Any,
    ) -> None:
        nowhere = "http://127.0.0.1:9"
        urls = (standin.api_url, standin.export_url) if standin else (nowhere, nowhere)
        self._settings = settings_for(*urls, data_dir, **knobs)
        self._token, self._port, self._runner_knobs = token, port, runner or {}
        self._knobs: dict[str, Any] = {"mirror": mirror, "heartbeat_s": heartbeat_s, "body_s": body_s}
        self._make_service = make_service
        super().__init__()
        self.port = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        async with self._make_service(self._settings) as self.service:
            guard = Guard("127.0.0.1", self._token)
            self.app = make_app(self.service, guard, **self._knobs)
            self.runner = make_runner(self.app, **self._runner_knobs)
            await self.runner.setup()
            await web.TCPSite(self.runner, "127.0.0.1", self._port).start()
            guard.port = self.port = self.runner.addresses[0][1]
            yield
            self.service.close()
            await self.runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def within(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something in the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def ask(self, method: str, target: str, body: Any = None, **headers: str) -> Answer:
        """Send a request for exactly this target; a body that is not bytes goes as JSON. Write _ for - in headers."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            named.setdefault("Content-Type", "application/json")
        connection = self.connect()
        try:
            connection.putrequest(method, target, skip_host="Host" in named, skip_accept_encoding=True)
            for name, value in named.items():
                connection.putheader(name, value)
            if body is not None and "Transfer-Encoding" not in named:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            answer = Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()
        check(method, target, answer)
        return answer

    def get(self, target: str) -> Any:
        """Return what is answered; it has to be 200."""
        answer = self.ask("GET", target)
        assert answer.status == 200, answer.body
        return answer.json

    @cached_property
    def events(self) -> http.client.HTTPResponse:
        """A stream of events, open until the block's end."""
        connection = self.connect()
        connection.request("GET", "/v1/events")
        return connection.getresponse()


def check(method: str, target: str, answer: Answer) -> None:
    """Check an answer against the OpenAPI document, and that it carries what every answer carries."""
    assert answer.headers["X-Request-Id"] and answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in answer.headers
    media = answer.headers.get("Content-Type", "").split(";")[0]
    operation = operation_of(method, target)
    if answer.status == 308:
        assert target.startswith("/api/") and answer.headers["Location"].split("?")[0] == target.split("?")[0].rstrip(
            "/"
        )
        return
    if operation is None or method == "HEAD":
        assert answer.status >= 400 or method == "HEAD", (method, target, answer.status)
        if method != "HEAD":
            assert not problems_of({"$ref": "#/components/schemas/ProblemDocument"}, answer)
        return
    assert str(answer.status) in operation["responses"], (method, target, answer.status, answer.body)
    declared = {
        name.split(";")[0]: content["schema"]
        for name, content in operation["responses"][str(answer.status)]["content"].items()
    }
    assert media in declared, (method, target, answer.status, media)
    if media in JSON_TYPES:
        assert not problems_of(declared[media], answer), (method, target, answer.body[:500])


def problems_of(schema: dict[str, Any], answer: Answer) -> list[str]:
    validator = Draft202012Validator(schema | {"components": DOCUMENT["components"]})
    return [error.message for error in validator.iter_errors(answer.json)]


def operation_of(method: str, target: str) -> dict[str, Any] | None:
    """Find the operation of the document that a target means."""
    path = target.split("?")[0]
    for template, operations in DOCUMENT["paths"].items():
        if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)), path):
            found: dict[str, Any] | None = operations.get(method.lower())
            return found
    return None
