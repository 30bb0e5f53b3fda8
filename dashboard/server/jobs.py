"""The service of `saefetch serve` inside the dashboard's server: its routes, with the dashboard's guard before them.

These are the only routes that change anything, and only `sae-dashboard --jobs` adds them. The browser's cookie stands
for the token, and a browser sends a cookie along whoever's page asks; so a change is refused to pages of others here,
as the service's own guard does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from saefetch.service.http.app import HEARTBEAT_S, Front
from saefetch.service.http.given import BODY_S
from saefetch.service.http.guard import READING, is_own
from saefetch.service.http.problems import Problem
from saefetch.service.service import Service

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class JobsRoutes:
    """The service's routes in an application that has others."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._front = Front(self, BODY_S)

    def add_to(self, app: web.Application, base_path: str) -> None:
        """Add the routes, with and without the base path. The mirror is not among them: its /api is the dashboard's."""
        prefixes = sorted({"", base_path})
        self._front.add_to(app, self.service, mirror=False, heartbeat_s=HEARTBEAT_S, prefixes=prefixes)

    def has(self, request: web.Request) -> bool:
        return self._front.has(request)

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        return await (self._front.middleware(request, handler) if self.has(request) else handler(request))

    def check(self, request: web.Request, *, is_open: bool = False, by_password: bool = False) -> None:
        """Refuse a change to a page of another site. The rest was checked by the dashboard's guard."""
        host = request.headers.get("Host", "")
        if request.method not in READING and not is_own(request.headers.get("Origin"), host):
            raise Problem(403, "a page of another site may not do this")
