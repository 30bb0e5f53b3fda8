"""The application: the table's routes with their handlers, and what every request and every answer goes through."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import orjson
from aiohttp import web

from saefetch.errors import StoreError
from saefetch.service.http import openapi
from saefetch.service.http.events import Events
from saefetch.service.http.given import BODY_S, MAX_BODY, MAX_MIRROR_BODY, Given, json_of, parameters_of
from saefetch.service.http.guard import Guard
from saefetch.service.http.jobs import JobRoutes
from saefetch.service.http.log import HEADER, id_of, path_of
from saefetch.service.http.metrics import Metrics
from saefetch.service.http.problems import NOT_OUR_WORDS, SECURITY_HEADERS, Problem, problem_of, render
from saefetch.service.http.table import TABLE, Route
from saefetch.service.http.views import Views
from saefetch.service.log import LOGGER
from saefetch.service.mirror.routes import Mirror

if TYPE_CHECKING:
    from saefetch.service.service import Service

Operation = Callable[[web.Request, Given], Awaitable[web.StreamResponse]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
HEARTBEAT_S = 15.0


def make_app(
    service: Service, guard: Guard, *, mirror: bool, heartbeat_s: float = HEARTBEAT_S, body_s: float = BODY_S
) -> web.Application:
    """Make the application of one service. `guard.port` has to be set when the port is known.

    A stream of events says each `heartbeat_s` that it lives; a body has `body_s` to arrive.

    It is to be served by `saefetch.service.http.runner.make_runner`, which knows the limits that it needs.
    """
    front = Front(guard, body_s)
    app = web.Application(middlewares=[front.middleware], client_max_size=MAX_MIRROR_BODY)
    app.on_response_prepare.append(_set_headers)
    front.add_to(app, service, mirror=mirror, heartbeat_s=heartbeat_s)
    return app


class Checks(Protocol):
    """What decides who may ask: `Guard`, or the dashboard, which has a guard of its own."""

    def check(self, request: web.Request, *, is_open: bool = False, by_password: bool = False) -> None: ...


class Front:
    """What every request goes through: its id, the guard, the table's checks; and every error to its document."""

    def __init__(self, guard: Checks, body_s: float) -> None:
        self._guard, self._body_s = guard, body_s
        self._routes: dict[object, Route] = {}
        self.answered: Counter[int] = Counter()

    def has(self, request: web.Request) -> bool:
        """Say whether the request is for a route of the table."""
        return request.match_info.handler in self._routes

    def add_to(
        self,
        app: web.Application,
        service: Service,
        *,
        mirror: bool,
        heartbeat_s: float,
        prefixes: Sequence[str] = ("",),
    ) -> None:
        """Add the routes of the table, each with the operation of its name, below each of the prefixes."""
        views, reads = Views(service.data_dir), Mirror(service.data_dir)
        document = orjson.dumps(openapi.document(mirror=mirror))

        async def say_document(request: web.Request, given: Given) -> web.StreamResponse:
            return web.Response(body=document, content_type="application/json")

        operations: Mapping[str, Operation] = {
            **JobRoutes(service).operations(),
            **views.operations(),
            **reads.operations(),
            **Metrics(service, self.answered).operations(),
            "events": Events(service, heartbeat_s).answer,
            "openapi": say_document,
        }
        for route in TABLE:
            if route.area == "mirror" and not mirror:
                continue
            handler = _checking(route, operations[route.name], self._body_s)
            self._routes[handler] = route
            for prefix in prefixes:
                app.router.add_route(route.method, prefix + route.path, handler)
                if route.method == "GET" and route.name != "events":
                    app.router.add_route("HEAD", prefix + route.path, handler)
        app.on_cleanup.append(lambda _: views.close())
        app.on_cleanup.append(lambda _: reads.close())

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            id_of(request)
            route = self._routes.get(request.match_info.handler)
            if route is None:
                self._guard.check(request)
            else:
                self._guard.check(request, is_open=route.is_open, by_password=route.by_password)
            response = await handler(request)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception as exc:
            if request.writer.output_size:  # half an answer is out, and the end of the connection says so
                LOGGER.exception(
                    "%s %s broke off", request.method, path_of(request), extra={"request_id": id_of(request)}
                )
                raise ConnectionResetError from exc
            response = self._refusal(request, exc)
        self.answered[response.status] += 1
        return response

    def _refusal(self, request: web.Request, exc: Exception) -> web.Response:
        if isinstance(exc, web.HTTPNotFound) and (address := self._without_slash(request)):
            return web.Response(status=308, headers={"Location": address})
        problem = problem_of(exc)
        if problem is None:
            LOGGER.exception("%s %s", request.method, path_of(request), extra={"request_id": id_of(request)})
            problem = Problem(500, NOT_OUR_WORDS)
        elif isinstance(exc, StoreError):
            LOGGER.warning("%s: %s", path_of(request), exc, extra={"request_id": id_of(request)})
        return render(problem, path_of(request))

    def _without_slash(self, request: web.Request) -> str:
        """Return the address that Neuronpedia leads to from one of its own with a / at its end; "" for any other."""
        path = path_of(request)
        is_mirrored = any(route.area == "mirror" for route in self._routes.values())
        if not (is_mirrored and path.startswith("/api/") and path.endswith("/")):
            return ""
        query = request.rel_url.raw_query_string
        return path.rstrip("/") + (f"?{query}" if query else "")


def _checking(route: Route, operation: Operation, body_s: float) -> Handler:
    """Make the handler that checks what the request gives, as the table says, and hands it to the operation."""
    is_mirror = route.area == "mirror"

    async def handle(request: web.Request) -> web.StreamResponse:
        given = parameters_of(request, route)
        if route.body is not None:
            max_bytes = MAX_MIRROR_BODY if is_mirror else MAX_BODY
            given["body"] = await json_of(request, max_bytes=max_bytes, any_type=is_mirror, body_s=body_s)
        return await operation(request, given)

    return handle


async def _set_headers(request: web.Request, response: web.StreamResponse) -> None:
    set_headers(request, response)


def set_headers(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Add to an answer, before it begins, what every answer carries."""
    response.headers.update(SECURITY_HEADERS)
    response.headers[HEADER] = id_of(request)
