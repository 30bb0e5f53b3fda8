"""A reverse proxy as notebook servers have it: pages of a user below a prefix, which it cuts off or keeps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import ClientSession, web
from in_thread import InThread, listening

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-encoding", "content-length"}


class ReverseProxy(InThread):
    """Passes what is below `prefix` on to 127.0.0.1:port; /notebook is a page with the prefix in a frame."""

    def __init__(self, port: int, prefix: str, *, cuts: bool) -> None:
        self._upstream, self._prefix, self._cuts = f"http://127.0.0.1:{port}", prefix, cuts
        super().__init__()
        self.port = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_get("/notebook", self._notebook)
        app.router.add_get(self._prefix + "/{rest:.*}", self._pass_on)
        async with ClientSession(auto_decompress=True) as self._session, listening(app) as self.port:
            yield

    async def _notebook(self, request: web.Request) -> web.Response:
        frame = f'<!doctype html><title>notebook</title><iframe src="{self._prefix}/?{request.query_string}"></iframe>'
        return web.Response(text=frame, content_type="text/html")

    async def _pass_on(self, request: web.Request) -> web.Response:
        target = request.raw_path.removeprefix(self._prefix) if self._cuts else request.raw_path
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        async with self._session.get(self._upstream + target, headers=headers, allow_redirects=False) as answer:
            kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP]
            response = web.Response(status=answer.status, body=await answer.read())
            for name, value in kept:
                if name.lower() == "content-type":
                    response.headers[name] = value
                else:
                    response.headers.add(name, value)
            return response
