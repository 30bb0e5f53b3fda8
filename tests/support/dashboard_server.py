"""What the dashboard's tests share: the real server in a thread, and requests that are sent as they are written."""

from __future__ import annotations

import gzip
import http.client
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from in_thread import InThread

from dashboard.model.data import Data, Settings
from dashboard.server.proxy import Proxy
from dashboard.server.serve import listening
from saefetch.names.identity import DEFAULT_RELEASE, DEFAULT_SAE_ID
from saefetch.service.service import Service


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(gzip.decompress(self.body) if self.headers.get("Content-Encoding") else self.body)

    @property
    def error(self) -> str:
        document = self.json
        assert list(document) == ["error"], document
        error: str = document["error"]
        assert "\n" not in error and "Traceback" not in error
        return error


class Dashboard(InThread):
    """A server on a free port of loopback, for the block."""

    def __init__(
        self, data: Data, host: str = "127.0.0.1", proxy: Proxy | None = None, service: Service | None = None
    ) -> None:
        self._data, self._host, self._proxy, self._service = data, host, proxy, service
        super().__init__()
        self.address = ""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        async with listening(self._data, self._host, 0, self._proxy, self._service) as self.address:
            yield

    @property
    def port(self) -> int:
        return urlsplit(self.address).port or 0

    def ask(self, target: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
        """Send a request for exactly this target. A header's name is written with _ for -."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.putrequest(method, target, skip_host="Host" in named, skip_accept_encoding=True)
            for name, value in named.items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def api(self, path: str, **parameters: Any) -> Any:
        """Return what the API answers; it has to be 200."""
        answer = self.ask(f"/api/{quote(path)}?{urlencode(parameters)}")
        assert answer.status == 200, answer.body
        return answer.json

    def refused(self, path: str, **parameters: Any) -> tuple[int, str]:
        """Return the status and the one line of an error."""
        answer = self.ask(f"/api/{quote(path)}?{urlencode(parameters)}")
        return answer.status, answer.error


def settings_for(folder: Path, **knobs: Any) -> Settings:
    """Return settings for `folder`/sae and `folder`/features."""
    return Settings(folder / "sae", folder / "features", (DEFAULT_RELEASE, DEFAULT_SAE_ID), **knobs)
