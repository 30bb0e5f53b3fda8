"""The routes about jobs: from JSON to the service's methods and back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from saefetch.service.http.given import JSON_TYPE, Given
from saefetch.service.http.problems import Problem

if TYPE_CHECKING:
    from saefetch.service.service import Service


def json_answer(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(document), content_type=JSON_TYPE, headers=headers)


class JobRoutes:
    """The handlers. What they raise becomes a problem document elsewhere."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def operations(self) -> dict[str, Callable[[web.Request, Given], Awaitable[web.StreamResponse]]]:
        return {
            "add_jobs": self.add,
            "list_jobs": self.list,
            "show_job": self.show,
            "cancel_job": self.cancel,
            "retry_job": self.retry,
        }

    async def add(self, request: web.Request, given: Given) -> web.Response:
        if given["body"] is None:
            raise Problem(415, "the body is empty; expected a JSON object, {} for the default SAE")
        jobs, has_new = self._service.submit(given["body"])
        headers = {"Location": f"/v1/jobs/{jobs[0]['id']}"}
        return json_answer({"jobs": jobs}, 202 if has_new else 200, headers)

    async def list(self, request: web.Request, given: Given) -> web.Response:
        jobs, cursor = self._service.jobs(given["state"], given["limit"], given["cursor"])
        return json_answer({"jobs": jobs, "next": cursor})

    async def show(self, request: web.Request, given: Given) -> web.Response:
        return json_answer(self._service.job(given["id"]))

    async def cancel(self, request: web.Request, given: Given) -> web.Response:
        # Goes on where the client does not wait for the answer.
        return json_answer(await asyncio.shield(self._service.cancel(given["id"])))

    async def retry(self, request: web.Request, given: Given) -> web.Response:
        if given["body"] not in (None, {}):
            raise Problem(422, "expected an empty object: a job is tried again as it was asked for")
        return json_answer(self._service.retry(given["id"]))
