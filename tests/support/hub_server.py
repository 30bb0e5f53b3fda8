"""A small Hugging Face on loopback: trees of files, what is known of paths, and their bytes by ranges.

with HubServer() as hub:
    hub.files["datasets/owner/acts"] = {"layer_16/0.npy": b"..."}
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from in_thread import InThread, listening

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_PLURAL = {"models": "", "datasets": "datasets/"}


class HubServer(InThread):
    """Only the revisions `main` and `v1`, and only with `token` where there is one."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.requests: list[str] = []
        self.token = ""
        super().__init__()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        app = web.Application()
        api = "/api/{type:models|datasets}/{repo:[^/]+/[^/]+}"
        app.router.add_get(f"{api}/revision/{{revision}}", self._answering(self._revision))
        app.router.add_get(f"{api}/tree/{{revision}}", self._answering(self._tree))
        app.router.add_get(f"{api}/tree/{{revision}}/{{path:.+}}", self._answering(self._tree))
        app.router.add_post(f"{api}/paths-info/{{revision}}", self._answering(self._paths))
        app.router.add_get("/{repo:(datasets/)?[^/]+/[^/]+}/resolve/{revision}/{path:.+}", self._answering(self._bytes))
        async with listening(app) as port:
            self.endpoint = f"http://127.0.0.1:{port}"
            yield

    def _answering(self, answer: Any) -> Any:
        async def handle(request: web.Request) -> web.Response:
            self.requests.append(request.path)
            known = request.match_info
            repo = _PLURAL[known["type"]] + known["repo"] if "type" in known else known["repo"]
            allowed = not self.token or request.headers.get("Authorization") == f"Bearer {self.token}"
            if not allowed or repo not in self.files:
                return web.Response(status=404 if allowed else 401, headers={"X-Error-Code": "RepoNotFound"})
            if known["revision"] not in ("main", "v1", COMMIT):
                return web.Response(status=404, headers={"X-Error-Code": "RevisionNotFound"})
            response: web.Response = await answer(request, self.files[repo])
            return response

        return handle

    async def _revision(self, request: web.Request, files: dict[str, bytes]) -> web.Response:
        return web.json_response({"id": request.match_info["repo"], "sha": COMMIT, "siblings": []})

    async def _tree(self, request: web.Request, files: dict[str, bytes]) -> web.Response:
        below = request.match_info.get("path", "")
        prefix, deep = f"{below}/" if below else "", request.query.get("recursive", "").lower() == "true"
        found: dict[str, dict[str, Any]] = {}
        for path, data in files.items():
            if path.startswith(prefix):
                head, slash, _ = path[len(prefix) :].partition("/")
                if deep or not slash:
                    found[path] = _file(path, data)
                if slash:
                    found[prefix + head] = {"type": "directory", "path": prefix + head, "oid": "0"}
        if below and not found:
            return web.Response(status=404, headers={"X-Error-Code": "EntryNotFound"})
        return web.json_response([found[path] for path in sorted(found)])

    async def _paths(self, request: web.Request, files: dict[str, bytes]) -> web.Response:
        asked = (await request.post()).getall("paths")
        return web.json_response([_file(str(path), files[str(path)]) for path in asked if str(path) in files])

    async def _bytes(self, request: web.Request, files: dict[str, bytes]) -> web.Response:
        data = files.get(request.match_info["path"])
        if data is None:
            return web.Response(status=404, headers={"X-Error-Code": "EntryNotFound"})
        if "Range" not in request.headers:
            return web.Response(body=data)
        first, _, last = request.headers["Range"].removeprefix("bytes=").partition("-")
        start, stop = int(first), min(len(data), int(last) + 1 if last else len(data))
        headers = {"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"}
        return web.Response(status=206, body=data[start:stop], headers=headers)


def _file(path: str, data: bytes) -> dict[str, Any]:
    return {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
