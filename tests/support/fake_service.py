"""A service that does as a test says: jobs and events by hand, in a thread, so that commands can be run against it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from in_thread import InThread, listening

RELEASE = "gemma-scope-2b-pt-res-canonical"


def job(number: int, state: str = "queued", done: int | None = None, **more: Any) -> dict[str, Any]:
    """Return a job as the service tells of it; of 1,000 features once it has begun."""
    total = None if state == "queued" and done is None else 1000
    told = dict.fromkeys(("started_at", "ended_at", "error", "labels_path"))
    told |= {"id": str(number), "state": state, "submitted_at": "2026-12-01T09:30:00Z"}
    told |= {"sae_release": RELEASE, "sae_id": f"layer_{number}/width_16k/canonical", "source": "auto"}
    told |= {"neuronpedia_id": f"gemma-2-2b/{number}-gemmascope-res-16k", "total_features": total, "done": done}
    if state == "done":
        told |= {"done": 1000, "successful": 1000, "missing": 0, "failed": 0, "with_descriptions": 900}
        told |= {"requests": 12, "bytes_received": 3_000_000, "seconds": 1.5, "ended_at": "2026-12-01T09:31:00Z"}
    return told | more


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: Any


class FakeService(InThread):
    """`jobs` by id are what it knows; `answer` may answer a request in its place."""

    def __init__(self, *jobs: dict[str, Any]) -> None:
        self.jobs = {each["id"]: each for each in jobs}
        self.answer: Callable[[web.Request], web.Response | None] = lambda request: None
        self.asked: list[Asked] = []
        self.events: list[tuple[str, dict[str, Any] | None]] = []
        self.streams: list[Callable[[], Any]] = []
        """What each event stream does when it is opened, in their order; the last one stays open."""
        self.url = ""
        super().__init__()

    def tell(self, *jobs: dict[str, Any]) -> None:
        """Change jobs, and send an event of each."""
        for each in jobs:
            self.jobs[each["id"]] = each
            self.events.append(("job", each))

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        async with listening(app, shutdown_timeout=0.1) as port:
            self.url = f"http://127.0.0.1:{port}"
            yield

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        headers = {name.lower(): value for name, value in request.headers.items()}
        asked = Asked(request.method, request.path_qs, headers, json.loads(text) if text else None)
        self.asked.append(asked)
        answer = self.answer(request)
        if answer is not None:
            return answer
        parts = request.path.strip("/").split("/")
        if parts == ["v1", "events"]:
            return await self._stream(request)
        if parts == ["v1", "jobs"] and request.method == "POST":
            new = job(len(self.jobs) + 1)
            self.jobs[new["id"]] = new
            return web.json_response({"jobs": [new]}, status=202)
        if parts == ["v1", "jobs"]:
            wanted = request.query.get("state")
            found = [each for each in reversed(self.jobs.values()) if wanted in (None, each["state"])]
            begin, limit = int(request.query.get("cursor", 0)), int(request.query.get("limit", 100))
            end = begin + limit
            return web.json_response({"jobs": found[begin:end], "next": str(end) if end < len(found) else None})
        known = self.jobs.get(parts[2])
        if known is None:
            return problem(404, "there is no job 99")
        if request.method == "DELETE":
            self.tell(known | {"state": "cancelled"})
        elif parts[-1] == "retry":
            if known["state"] not in ("failed", "cancelled"):
                return problem(
                    409, f"job {parts[2]} is {known['state']}; only failed and cancelled ones are tried again"
                )
            self.tell(known | {"state": "queued"})
        return web.json_response(self.jobs[parts[2]])

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b": hello\n\n")
        after = int(request.headers.get("Last-Event-ID", len(self.events)))
        if self.streams:
            self.streams.pop(0)()
        for number, (kind, data) in enumerate(self.events[after:], after + 1):
            text = "" if data is None else f"data: {json.dumps(data)}\n"
            await response.write(f"id: {number}\nevent: {kind}\n{text}\n".encode())
        if not self.streams:
            await self._ends.wait()
        return response


def problem(status: int, detail: str) -> web.Response:
    """Answer with a problem document."""
    body = {"type": "about:blank", "title": "a title", "status": status, "detail": detail}
    return web.json_response(body, status=status, content_type="application/problem+json")
