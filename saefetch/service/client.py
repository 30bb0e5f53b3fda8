"""The client of a running service: what `saefetch jobs` asks of it, and the events that it hears.

The token goes to the origin of `url` and nowhere else: no redirect is followed. Faults of the wire and the service's
problem documents (RFC 9457) become the classes of `saefetch.errors`; the message of each is one line.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import aiohttp
from yarl import URL

from saefetch.errors import (
    BadAnswerError,
    RefusedError,
    RequestRejectedError,
    ServerError,
    UnreachableError,
    UsageError,
)
from saefetch.net.certificates import trusting_context
from saefetch.net.faults import translate

ADDRESS = "http://127.0.0.1:8764"
TOKEN = "SAEFETCH_TOKEN"
PAGE = 1000
CONNECT_S, ANSWER_S = 10.0, 60.0
SILENCE_S = 45.0
"""Three heartbeats of the events. A stream that is silent for longer is dead."""

Job = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event: the job as it is now; `job` is None where the event is of another kind."""

    id: str
    kind: str
    job: Job | None


class Client:
    """Asks the service at `url`. Use as an async context manager. Raises: UsageError for what is no address."""

    def __init__(self, url: str = ADDRESS, token: str | None = None) -> None:
        self.url = _address(url)
        self._headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})

    async def __aenter__(self) -> Self:
        secure = urlsplit(self.url).scheme == "https"
        connector = aiohttp.TCPConnector(ssl=trusting_context()) if secure else aiohttp.TCPConnector()
        self._session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), headers=self._headers, read_bufsize=1 << 18
        )
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._session.close()

    async def add(self, wish: dict[str, Any]) -> tuple[list[Job], bool]:
        """Ask for labels; return the jobs, and whether any of them is new."""
        status, answer = await self._ask("POST", "/v1/jobs", body=wish)
        return self._jobs(answer), status == 202

    async def job(self, job_id: str) -> Job:
        return self._job((await self._ask("GET", f"/v1/jobs/{quote(job_id, safe='')}"))[1])

    async def jobs(self, state: str | None = None, limit: int = PAGE) -> tuple[list[Job], bool]:
        """Return up to `limit` jobs, the latest first, and whether there are more."""
        found: list[Job] = []
        cursor: str | None = ""
        while cursor is not None and len(found) < limit:
            given = {"state": state, "limit": str(min(PAGE, limit - len(found))), "cursor": cursor}
            _, answer = await self._ask("GET", "/v1/jobs", {name: value for name, value in given.items() if value})
            found += self._jobs(answer)
            cursor = answer.get("next")
        return found, cursor is not None

    async def cancel(self, job_id: str) -> Job:
        return self._job((await self._ask("DELETE", f"/v1/jobs/{quote(job_id, safe='')}"))[1])

    async def retry(self, job_id: str) -> Job:
        return self._job((await self._ask("POST", f"/v1/jobs/{quote(job_id, safe='')}/retry", body={}))[1])

    @asynccontextmanager
    async def events(self, after: str = "") -> AsyncIterator[AsyncIterator[Event]]:
        """Hear what happens from now on, or after the event `after`, until the service closes the stream."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S)
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": after} if after else {})
        with self._faults("GET /v1/events", timeout):
            response = await self._request("GET", "/v1/events", timeout, headers=headers)
        try:
            if response.content_type != "text/event-stream":
                raise self._strange()
            yield self._events(response, timeout)
        finally:
            response.close()

    async def _events(self, response: aiohttp.ClientResponse, timeout: aiohttp.ClientTimeout) -> AsyncIterator[Event]:
        with self._faults("GET /v1/events", timeout):
            async for number, kind, data in parse_events(response.content):
                yield Event(number, kind, self._job(_document(data.encode())) if kind == "job" else None)

    async def _ask(
        self, method: str, path: str, query: dict[str, str] | None = None, body: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        timeout = aiohttp.ClientTimeout(total=ANSWER_S, sock_connect=CONNECT_S)
        headers = {} if method == "GET" else {"Content-Type": "application/json"}
        data = None if body is None else json.dumps(body)
        with self._faults(f"{method} {path}", timeout):
            async with await self._request(method, path, timeout, headers=headers, params=query, data=data) as response:
                answer = _document(await response.read())
        if answer is None:
            raise self._strange()
        return response.status, answer

    async def _request(
        self, method: str, path: str, timeout: aiohttp.ClientTimeout, **more: Any
    ) -> aiohttp.ClientResponse:
        """Return an answer that says success, its body still to be read."""
        asking = self._session.request(method, self.url + path, timeout=timeout, allow_redirects=False, **more)
        response = await asking
        if response.status < 300:
            return response
        async with response:
            raise self._problem(response, await response.content.read(1 << 16))

    @contextmanager
    def _faults(self, what: str, timeout: aiohttp.ClientTimeout) -> Iterator[None]:
        """Turn what aiohttp and the sockets raise in the block into our tree."""
        try:
            yield
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            error = translate(what, URL(self.url), exc, timeout)
            if isinstance(error, UnreachableError) and not isinstance(exc, aiohttp.ClientSSLError):
                hint = "`saefetch serve` starts one, and --url names one that runs elsewhere"
                error = UnreachableError(f"no service at {self.url}: {error}; {hint}")
            raise error from exc

    def _problem(self, response: aiohttp.ClientResponse, body: bytes) -> Exception:
        """Make the error for an answer that is no success."""
        status, document = response.status, _document(body) or {}
        words = next((text for key in ("detail", "title", "error") if (text := document.get(key))), None)
        said = " ".join(str(words or f"{status} {response.reason or ''}").split())
        if status < 400:
            to = response.headers.get("Location", "")[:200]
            return RequestRejectedError(f"{self.url} leads to {to!r}; if that is the service, name it as --url")
        if status == 401:
            return RefusedError(f"{self.url}: {said}; name the file of its token as --token-file, or set {TOKEN}")
        if status in (403, 421):
            return RefusedError(f"{self.url}: {said}")
        if status >= 500:
            return ServerError(f"{self.url}: {said}", status=status)
        if "problem" not in response.content_type:
            return self._strange()
        return UsageError(said) if status in (400, 404, 422) else RequestRejectedError(said)

    def _jobs(self, answer: dict[str, Any]) -> list[Job]:
        jobs = answer.get("jobs")
        if not isinstance(jobs, list):
            raise self._strange()
        return [self._job(job) for job in jobs]

    def _job(self, job: Any) -> Job:
        if not isinstance(job, dict) or not isinstance(job.get("id"), str) or not isinstance(job.get("state"), str):
            raise self._strange()
        return job

    def _strange(self) -> BadAnswerError:
        return BadAnswerError(f"{self.url} does not answer as saefetch's service does; is --url right?")


async def parse_events(lines: AsyncIterable[bytes]) -> AsyncIterator[tuple[str, str, str]]:
    """Yield id, kind and data of each event: https://html.spec.whatwg.org/multipage/server-sent-events.html"""
    number, kind, data = "", "", []
    async for raw in lines:
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            number = value
        elif name == "event":
            kind = value
        elif name == "data":
            data.append(value)
        elif not line:
            if data or kind:
                yield number, kind or "message", "\n".join(data)
            kind, data = "", []


def read_token(file: Path | None) -> str | None:
    """Return the token of the file, or without one that of the environment. Raises: UsageError, never with a token."""
    origin = TOKEN if file is None else f"--token-file {file}"
    try:
        token = (os.environ.get(TOKEN, "") if file is None else file.read_text(encoding="utf-8")).strip()
    except OSError as exc:
        raise UsageError(f"{origin}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"{origin}: holds no text") from exc
    if not token.isascii() or not token.isprintable() or " " in token or (file is not None and not token):
        raise UsageError(f"{origin}: holds no token: expected one line of letters, digits and signs, no spaces")
    return token or None


def sae_name(job: Job) -> str:
    """Return release and id of a job's SAE."""
    return " ".join(str(job[key]) for key in ("sae_release", "sae_id") if job.get(key)) or str(job["neuronpedia_id"])


def _document(body: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(body)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _address(url: str) -> str:
    """Check an address; the message of an error does not repeat what may be a password."""
    if "@" in url:
        raise UsageError("--url: user names and passwords in the address are not supported; use --token-file")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        usable = usable and not (parts.query or parts.fragment) and url.isascii() and url.isprintable()
    except ValueError:
        usable = False
    if not usable or " " in url:
        raise UsageError(f"--url {url[:100]!r}: expected an address such as {ADDRESS}")
    return url.rstrip("/")
