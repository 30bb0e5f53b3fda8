"""Addresses and what answers them. Views run in threads; what they return is sent as JSON, with an ETag.

What goes through many rows may take seconds in a large folder. It has threads of its own, so that however many of
those are asked for, a token, a feature and a search are answered at once.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import Any

from aiohttp import web
from isal import igzip

from dashboard.errors import NotFoundError
from dashboard.model.data import Data
from dashboard.server.answers import dumps
from dashboard.server.web_files import WebFiles
from dashboard.views import compare, documents, features, health, rows, search, summary
from dashboard.views.parameters import Parameters
from encoder.errors import EncoderError

View = Callable[..., Any]
THREADS, WALK_THREADS = 4, 2
ZIPPED_BYTES = 1 << 14
"""Answers from this size on are compressed for those who can take it: they may be at the far end of a tunnel."""

API: tuple[tuple[str, View, Sequence[str]], ...] = (
    ("summary", summary.summary, summary.PARAMETERS),
    ("documents", documents.documents, documents.LIST_PARAMETERS),
    ("documents/{}/tokens", documents.tokens, documents.TOKENS_PARAMETERS),
    ("documents/{}/features", documents.features, documents.FEATURES_PARAMETERS),
    ("rows/{}", rows.row, rows.PARAMETERS),
    ("features/{}", features.feature, features.PARAMETERS),
    ("features/{}/top", features.top, features.TOP_PARAMETERS),
    ("search", search.search, search.PARAMETERS),
    ("compare", compare.compare, compare.PARAMETERS),
    ("health", health.health, health.PARAMETERS),
)
WALKS = {
    "documents": {"query"},
    "documents/{}/features": None,
    "features/{}/top": {"offset", "distinct"},
    "search": {"document", "a", "b"},
    "compare": None,
}
"""What goes through whole documents, or all of a feature: always (None), or if one of these is asked for."""
_NUMBER = re.compile(r"[0-9]{1,15}")


class Routes:
    """The handlers of one server."""

    def __init__(self, data: Data, files: WebFiles) -> None:
        self._data, self._files = data, files
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="view")
        self._walkers = ThreadPoolExecutor(WALK_THREADS, thread_name_prefix="walk")

    def add_to(self, app: web.Application) -> None:
        for address, view, known in API:
            path = "/api/" + address.replace("{}", "{number}")
            app.router.add_get(path, self._handler(address, view, known))
        app.router.add_get("/{name:.*}", self._file)
        app.on_cleanup.append(self._close)

    async def _close(self, app: web.Application) -> None:
        for threads in (self._threads, self._walkers):
            threads.shutdown(wait=False, cancel_futures=True)

    def _threads_for(self, address: str, query: Iterable[str]) -> ThreadPoolExecutor:
        walks_if = WALKS.get(address, set())
        return self._walkers if walks_if is None or walks_if.intersection(query) else self._threads

    def _handler(self, address: str, view: View, known: Sequence[str]) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.Response:
            numbers = []
            if (number := request.match_info.get("number")) is not None:
                if not _NUMBER.fullmatch(number):
                    raise NotFoundError(f"{number[:40]!r} is not there: expected a whole number")
                numbers.append(int(number))
            asked = Parameters(request.query, known)
            zipped = "gzip" in request.headers.get("Accept-Encoding", "")
            threads = self._threads_for(address, request.query)
            work = asyncio.get_running_loop().run_in_executor(threads, self._answer, view, asked, numbers, zipped)
            body, headers = await work
            return respond(request, body, headers)

        return handle

    def _answer(self, view: View, asked: Parameters, numbers: list[int], zipped: bool) -> tuple[bytes, dict[str, str]]:
        try:
            body = self._look(view, asked, numbers)
        except EncoderError:  # a shard may have been replaced in this very moment: then it is there the next
            self._data.folder.look_again()
            body = self._look(view, asked, numbers)
        headers = {"Content-Type": "application/json", "ETag": etag_of(body), "Vary": "Accept-Encoding"}
        if zipped and len(body) >= ZIPPED_BYTES:
            body = igzip.compress(body, compresslevel=1)
            headers["Content-Encoding"] = "gzip"
        return body, headers

    def _look(self, view: View, asked: Parameters, numbers: list[int]) -> bytes:
        with self._data.look() as look:
            return dumps(view(look, asked, *numbers))

    async def _file(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        found = self._files.get(name or "index.html")
        if found is None:
            raise NotFoundError(f"there is nothing at /{name[:80]}")
        body, kind = found
        return respond(request, body, {"Content-Type": kind, "ETag": etag_of(body)})


def etag_of(body: bytes) -> str:
    return f'W/"{blake2b(body, digest_size=12).hexdigest()}"'


def respond(request: web.Request, body: bytes, headers: dict[str, str]) -> web.Response:
    """Answer with `body`, or with 304 to who has it already."""
    headers["Cache-Control"] = "no-cache"
    if headers["ETag"] in {tag.strip() for tag in request.headers.get("If-None-Match", "").split(",")}:
        for name in ("Content-Type", "Content-Encoding"):
            headers.pop(name, None)
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, headers=headers)
