"""From a request's address to the answer: a view runs in a thread, and its answer is sent as JSON with an ETag.

A view that goes through many rows may take seconds in a large folder. Slow views have threads of their own. However
many of them wait there, a token, a feature and a search are answered at once.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import Any

from aiohttp import web
from isal import igzip

from dashboard.errors import NotFoundError
from dashboard.model.data import Data
from dashboard.page import WebFiles
from dashboard.views.addresses import API, Address
from dashboard.views.answers import dumps
from dashboard.views.parameters import Parameters
from encoder.errors import EncoderError

THREADS, SLOW_THREADS = 4, 2
ZIPPED_BYTES = 1 << 14
"""Answers from this size on are compressed for a browser that takes gzip: it may be at the far end of a tunnel."""

_NUMBER = re.compile(r"[0-9]{1,15}")


class Routes:
    """The handlers of one server."""

    def __init__(self, data: Data, files: WebFiles, base_path: str = "") -> None:
        self._data, self._files, self._base_path = data, files, base_path
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="view")
        self._slow_threads = ThreadPoolExecutor(SLOW_THREADS, thread_name_prefix="slow view")

    def add_to(self, app: web.Application) -> None:
        for prefix in sorted({"", self._base_path}, reverse=True):  # the longer one first, as the last route takes all
            for address in API:
                path = address.path.replace("{}", "{which:[^/]+}")
                app.router.add_get(f"{prefix}/api/{path}", self._handler(address))
            if prefix:
                app.router.add_get(prefix, self._to_folder)
            app.router.add_get(prefix + "/{name:.*}", self._file)
        app.on_cleanup.append(self._close)

    async def _close(self, app: web.Application) -> None:
        for threads in (self._threads, self._slow_threads):
            threads.shutdown(wait=False, cancel_futures=True)

    def _handler(self, address: Address) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.Response:
            which = request.match_info.get("which")
            if which is not None and not address.names_document and not _NUMBER.fullmatch(which):
                raise NotFoundError(f"{which[:40]!r} is not there: expected a whole number")
            asked = dict(request.query)
            data = self._of_sae(asked.pop("sae", ""))
            parameters = Parameters(asked, address.parameters)
            zipped = "gzip" in request.headers.get("Accept-Encoding", "")
            threads = self._slow_threads if address.is_slow(request.query) else self._threads
            loop = asyncio.get_running_loop()
            body, headers = await loop.run_in_executor(threads, self._answer, data, address, parameters, which, zipped)
            return respond(request, body, headers)

        return handle

    def _answer(
        self, data: Data, address: Address, parameters: Parameters, which: str | None, zipped: bool
    ) -> tuple[bytes, dict[str, str]]:
        try:
            body = self._look(data, address, parameters, which)
        except EncoderError:  # a shard may have been replaced at this very moment; a second look finds the new one
            data.folder.look_again()
            body = self._look(data, address, parameters, which)
        headers = {"Content-Type": "application/json", "ETag": etag_of(body), "Vary": "Accept-Encoding"}
        if zipped and len(body) >= ZIPPED_BYTES:
            body = igzip.compress(body, compresslevel=1)
            headers["Content-Encoding"] = "gzip"
        return body, headers

    def _of_sae(self, name: str) -> Data:
        """Return the data of the SAE that is called so. Raises: NotFoundError."""
        if not name:
            return self._data
        if name not in self._data.siblings:
            there = ", ".join(list(self._data.siblings)[:10]) or "only one"
            raise NotFoundError(f"there is no SAE {name[:100]!r} here: {there}")
        return self._data.siblings[name]

    def _look(self, data: Data, address: Address, parameters: Parameters, which: str | None) -> bytes:
        with data.look() as look:
            if which is None:
                return dumps(address.view(look, parameters))
            number = look.features.documents.find(which) if address.names_document else int(which)
            return dumps(address.view(look, parameters, number))

    async def _to_folder(self, request: web.Request) -> web.Response:
        """Lead to the same address with a / at its end, as the page's addresses are relative to it."""
        last = request.rel_url.raw_path.rpartition("/")[2]
        return web.Response(status=308, headers={"Location": f"./{last}/", "Cache-Control": "no-store"})

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
    """Answer with `body`, or with 304 to a browser that has it already."""
    headers["Cache-Control"] = "no-cache"
    if headers["ETag"] in {tag.strip() for tag in request.headers.get("If-None-Match", "").split(",")}:
        for name in ("Content-Type", "Content-Encoding"):
            headers.pop(name, None)
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, headers=headers)
