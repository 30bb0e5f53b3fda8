"""A small S3 on loopback: objects in memory, ranges, conditional writes, pages of lists, and faults on demand.

with S3Server() as server:                     honest
with S3Server(ignores_conditions=True) ...     every create succeeds, as on some stores
server.faults.append((503, "SlowDown"))        the next requests are answered so, one each
server.tags["a"] = '"other"'                    its ETag, which is that of its bytes otherwise
server.n_sent["a"]                             how many of its bytes were sent
server.says["a"] = (403, "...")                every GET of this key is answered so
server.changes_after["a"] = 1                  after so many answers with its bytes it is another object
server.lands_first["a"] = b"..."               somebody else writes this object just before the next write of its key
server.refuses_puts["a"] = [(409, "...")]      the next writes of this key are answered so, and nothing is written
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from xml.sax.saxutils import escape

from aiohttp import web
from in_thread import InThread, listening

BUCKET = "bucket"
MAX_KEYS = 3
"""Keys a page of a list, so that lists have several pages."""


class S3Server(InThread):
    def __init__(self, *, ignores_conditions: bool = False) -> None:
        self.objects: dict[str, bytes] = {}
        self.faults: list[tuple[int, str]] = []
        self.requests: list[tuple[str, str]] = []
        self.tags: dict[str, str] = {}
        self.n_sent: Counter[str] = Counter()
        self.says: dict[str, tuple[int, str]] = {}
        self.changes_after: dict[str, int] = {}
        self.lands_first: dict[str, bytes] = {}
        self.refuses_puts: dict[str, list[tuple[int, str]]] = {}
        self._ignores = ignores_conditions
        super().__init__()

    @property
    def environment(self) -> dict[str, str]:
        """What the provider's own variables have to be."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "AKIAVERYSECRET",
            "AWS_SECRET_ACCESS_KEY": "wJalrVERYSECRET",
            "AWS_REGION": "us-east-1",
        }

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{bucket}", self._answer)
        app.router.add_route("*", "/{bucket}/{key:.*}", self._answer)
        async with listening(app) as self._port:
            yield

    async def _answer(self, request: web.Request) -> web.Response:
        key = request.match_info.get("key", "")
        self.requests.append((request.method, key))
        body = await request.read()
        if self.faults:
            return _error(*self.faults.pop(0))
        if request.match_info["bucket"] != BUCKET:
            return _error(404, "NoSuchBucket")
        if not key and request.method == "GET":
            return self._list(request.query)
        if not key and request.method == "POST":
            names = [part.partition(b"</Key>")[0].decode() for part in body.split(b"<Key>")[1:]]
            for name in names:
                self.objects.pop(name, None)
            gone = "".join(f"<Deleted><Key>{escape(name)}</Key></Deleted>" for name in names)
            return web.Response(text=f"<DeleteResult>{gone}</DeleteResult>", content_type="application/xml")
        return {"GET": self._get, "HEAD": self._get, "PUT": self._put, "DELETE": self._delete}[request.method](
            request, key, body
        )

    def _put(self, request: web.Request, key: str, body: bytes) -> web.Response:
        if self.refuses_puts.get(key):
            return _error(*self.refuses_puts[key].pop(0))
        if key in self.lands_first:
            self.objects[key] = self.lands_first.pop(key)
        there = self.objects.get(key)
        if not self._ignores:
            if request.headers.get("If-None-Match") == "*" and there is not None:
                return _error(412, "PreconditionFailed")
            wanted = request.headers.get("If-Match")
            if wanted is not None and (there is None or wanted != tag(there)):
                return _error(404, "NoSuchKey") if there is None else _error(412, "PreconditionFailed")
        self.objects[key] = body
        return web.Response(headers={"ETag": tag(body)})

    def _get(self, request: web.Request, key: str, _: bytes) -> web.Response:
        data = self.objects.get(key)
        if data is None:
            return _error(404, "NoSuchKey")
        if key in self.says and request.method == "GET":
            return _error(*self.says[key])
        if request.headers.get("If-Match", self._tag(key)) != self._tag(key):
            return _error(412, "PreconditionFailed")
        headers = {"ETag": self._tag(key), "Last-Modified": "Tue, 01 Dec 2026 00:00:00 GMT"}
        if "Range" in request.headers:
            first, _, last = request.headers["Range"].removeprefix("bytes=").partition("-")
            start, stop = int(first), min(len(data), int(last) + 1 if last else len(data))
            self.n_sent[key] += stop - start
            if key in self.changes_after:
                self.changes_after[key] -= 1
                if self.changes_after[key] < 0:
                    self.objects[key] = data[:-1] + bytes([data[-1] ^ 1])
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
            return web.Response(status=206, body=data[start:stop], headers=headers)
        return web.Response(body=data, headers=headers)

    def _tag(self, key: str) -> str:
        return self.tags.get(key, tag(self.objects[key]))

    def _delete(self, request: web.Request, key: str, _: bytes) -> web.Response:
        self.objects.pop(key, None)
        return web.Response(status=204)

    def _list(self, query: Any) -> web.Response:
        after = query.get("continuation-token", query.get("start-after", ""))
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        found = {key for key in self.objects if key.startswith(prefix)}
        if delimiter:  # what lies deeper is one name
            found = {
                prefix + head + mark for key in found for head, mark, _ in [key[len(prefix) :].partition(delimiter)]
            }
        keys = sorted(key for key in found if key > after)
        page, rest = keys[:MAX_KEYS], keys[MAX_KEYS:]
        folders = "".join(
            f"<CommonPrefixes><Prefix>{escape(key)}</Prefix></CommonPrefixes>"
            for key in page
            if key not in self.objects
        )
        contents = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.objects[key])}</Size><ETag>{self._tag(key)}"
            "</ETag><LastModified>2026-12-01T00:00:00.000Z</LastModified></Contents>"
            for key in page
            if key in self.objects
        )
        more = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if rest else ""
        text = (
            f"<ListBucketResult><IsTruncated>{'true' if rest else 'false'}</IsTruncated>{more}{contents}{folders}"
            "</ListBucketResult>"
        )
        return web.Response(text=text, content_type="application/xml")


def tag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


def _error(status: int, code: str) -> web.Response:
    text = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>"
    return web.Response(status=status, text=text, content_type="application/xml")
