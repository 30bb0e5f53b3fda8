"""One HTTP exchange: a request out, its answer into the request's sink. Redirects are followed by hand.

The API key goes with requests to the API's own origin, and never with a hop after a redirect. Faults of aiohttp, of the
sockets and of HTTP become the classes of `saefetch.errors` in `saefetch.net.faults`.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import aiohttp
import orjson
from yarl import URL

from saefetch.errors import BadAnswerError, RefusedError, RequestError, RequestRejectedError
from saefetch.net.body import Unpacked
from saefetch.net.certificates import trusting_context
from saefetch.net.faults import redirect_target, status_error, translate
from saefetch.net.pace import Hosts
from saefetch.net.request import Counters, Limits, Request

T = TypeVar("T")
MAX_REDIRECTS = 4


class Exchange:
    """Sends one request at a time on connections that are kept. To be closed in the end."""

    def __init__(self, limits: Limits, api_url: str, api_key: str | None, user_agent: str, hosts: Hosts) -> None:
        self._api_key, self._hosts, self._max_bytes = api_key, hosts, limits.max_response_bytes
        self._api_origin = URL(api_url).origin()
        self._session = aiohttp.ClientSession(
            auto_decompress=False,
            connector=aiohttp.TCPConnector(limit=limits.concurrency, keepalive_timeout=4.0),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": user_agent, "Accept-Encoding": "gzip"},
            read_bufsize=1 << 16,  # as much as twice this is held for each connection
            timeout=aiohttp.ClientTimeout(
                total=limits.total_timeout_s,
                sock_connect=limits.connect_timeout_s,
                sock_read=limits.stall_timeout_s,
            ),
        )
        self._session._retry_connection = False  # aiohttp sends a GET again by itself, uncounted and past the bucket

    async def close(self) -> None:
        await self._session.close()

    async def send(self, request: Request[T], counters: Counters) -> T:
        """Do one exchange, following redirects; each hop is a request that passes its own origin's bucket."""
        url, first = URL(request.url), True
        for _ in range(MAX_REDIRECTS + 1):
            if not first:
                await self._hosts.of(url).acquire()
            answer_or_url = await self._hop(url, request, counters, first_hop=first)
            if not isinstance(answer_or_url, _Redirect):
                return answer_or_url
            url, first = answer_or_url.url, False
        raise RequestRejectedError(f"{request.method} {request.url}: more than {MAX_REDIRECTS} redirects in a row")

    async def _hop(self, url: URL, request: Request[T], counters: Counters, *, first_hop: bool) -> T | _Redirect:
        what = f"{request.method} {url}"
        headers = {}
        if first_hop and request.with_key and self._api_key and url.origin() == self._api_origin:
            headers["x-api-key"] = self._api_key
        tls = self._tls if url.scheme == "https" else True
        body = None
        if request.json is not None:
            body = orjson.dumps(request.json)
            headers["Content-Type"] = "application/json"
        counters.add(requests=1)
        try:
            async with self._session.request(
                request.method,
                url,
                data=body,
                headers=headers,
                allow_redirects=False,
                ssl=tls,
                proxy=self._hosts.of(url).proxy,
            ) as response:
                self._note_quota(url, response)
                if response.status in (301, 302, 303, 307, 308):
                    return _Redirect(redirect_target(what, request.method, url, response))
                if response.status != 200:
                    start = await response.content.read(4096)
                    counters.add(bytes_received=len(start))
                    raise status_error(what, response, start)
                return await self._read(what, request, response, counters)
        except (RequestError, RefusedError) as exc:
            self._hide_key(exc)
            raise
        except Exception as exc:
            error = translate(what, url, exc, self._session.timeout)
            self._hide_key(error)
            raise error from exc

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Whom a secure connection trusts. Raises: UsageError where the environment names what is not there."""
        return trusting_context()

    def _hide_key(self, error: RequestError | RefusedError) -> None:
        """Take the key out of a message, in case the server quotes it back."""
        if self._api_key:
            error.args = (str(error).replace(self._api_key, "<the API key>"),)

    async def _read(self, what: str, request: Request[T], response: aiohttp.ClientResponse, counters: Counters) -> T:
        if request.content_types and response.content_type not in request.content_types:
            start = await response.content.read(80)
            counters.add(bytes_received=len(start))
            said = start.decode("utf-8", "replace")
            raise BadAnswerError(f"{what}: expected {request.content_types[0]}, got {response.content_type}: {said!r}")
        sink = request.sink(response.headers.get("ETag", ""))
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding in ("gzip", "x-gzip", "deflate"):
            encoding = encoding.removeprefix("x-")
            sink = Unpacked(what, encoding, request.max_bytes or self._max_bytes, sink)
        elif encoding not in ("", "identity"):
            raise BadAnswerError(f"{what}: Content-Encoding {encoding} was not asked for")
        async for data in response.content.iter_any():
            counters.add(bytes_received=len(data))
            await sink.feed(data)
        return await sink.finish()

    def _note_quota(self, url: URL, response: aiohttp.ClientResponse) -> None:
        remaining = response.headers.get("x-limit-remaining", "")
        if response.status == 200 and remaining.isascii() and remaining.isdigit():
            self._hosts.of(url).brake.note(int(remaining[:9]))


@dataclass(frozen=True, slots=True)
class _Redirect:
    url: URL
