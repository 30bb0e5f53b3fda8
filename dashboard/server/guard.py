"""What is checked of every request before it is answered, and the headers of every answer.

    wrong Host          421   a page on the internet whose name leads here (DNS rebinding) cannot read the data
    not GET or HEAD     405   the server only reads, but for the jobs of --jobs
    no or wrong token   401   where other machines can reach the server; the browser gets a cookie for `?token=`
    an error            4xx, 500 and one line; a traceback goes to stderr only

The names that are served: loopback's, with the port, where only loopback can reach the server. Elsewhere also IP
addresses, this machine's names and the name that the command was told to listen at; a name of an attacker's that leads
here is refused all the same, as the browser has no cookie for it.

Behind a proxy, the names that the user allowed are served with any port, and the token is needed on loopback too: the
proxy lets in whoever can reach it.
"""

from __future__ import annotations

import secrets
import socket
import sys
import traceback
from collections.abc import Awaitable, Callable
from http.cookies import CookieError

from aiohttp import web

from dashboard.errors import RequestError
from dashboard.page import policy
from dashboard.server.proxy import Proxy
from dashboard.views.answers import dumps
from saefetch.errors import SaefetchError
from saefetch.service.http.host import LOOPBACK_NAMES, is_address, is_loopback, same_secret, split_host
from saefetch.terminal.output import printable, remark

HEADERS = {
    "Content-Security-Policy": policy("'self'"),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
"""Of every answer. Where the page may be shown in frames, the last is left out: the policy names the frames then."""
COOKIE_AGE_S = 30 * 86_400

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Guard:
    """One server's rules; `port` is known once it listens. `token` is None where only loopback can reach it.

    `hide` takes the paths of this machine out of an error's message. `may_change` tells the requests that may have
    another method than GET and HEAD.
    """

    def __init__(
        self,
        host: str,
        proxy: Proxy | None,
        hide: Callable[[str], str],
        may_change: Callable[[web.Request], bool] = lambda request: False,
    ) -> None:
        self._hide = hide
        self.port = 0
        self._may_change = may_change
        self.proxy = proxy or Proxy()
        self.token = None if is_loopback(host) and not self.proxy.is_there else secrets.token_urlsafe(32)
        self._headers = dict(HEADERS)
        if self.proxy.frames:
            del self._headers["X-Frame-Options"]
            self._headers["Content-Security-Policy"] = policy("'self'", self.proxy.frames)
        self._session = secrets.token_urlsafe(32)
        self._names = {*LOOPBACK_NAMES, host.lower(), f"[{host.lower()}]"}
        if not is_loopback(host):
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = self._refusal(request) or await handler(request)
        except RequestError as exc:
            response = refuse(exc.http_status, str(exc))
        except web.HTTPException as exc:
            response = refuse(exc.status, exc.reason)
        except SaefetchError as exc:  # a file that is damaged: the message says which
            remark(f"sae-dashboard: {exc}")
            response = refuse(500, self._hide(str(exc)))
        except Exception as exc:
            traceback.print_exc(file=sys.stderr)
            response = refuse(500, f"this is a bug of sae-dashboard ({type(exc).__name__}); see where it was started")
        return response

    async def add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add to an answer, before it begins, what every answer carries. For `on_response_prepare`."""
        response.headers.update(self._headers)
        response.headers.setdefault("Cache-Control", "no-store")

    def _refusal(self, request: web.Request) -> web.Response | None:
        """Return the answer that refuses the request, None if it may be answered."""
        if not self._is_served(request.headers.get("Host", "")):
            wanted = f"http://localhost:{self.port}/"
            hint = "through a tunnel, use the same port; behind a proxy, start it with --allow-host NAME"
            return refuse(421, f"not served under this name; open {wanted} ({hint})")
        if request.method not in ("GET", "HEAD") and not self._may_change(request):
            return refuse(405, "this only reads: GET and HEAD", {"Allow": "GET, HEAD"})
        return self._ask_for_token(request) if self.token else None

    def _is_served(self, host: str) -> bool:
        if self.proxy.allows(host):
            return True
        asked = split_host(host)
        if asked is None or asked[1] != self.port:
            return False
        name = asked[0]
        return name in self._names or (self.token is not None and is_address(name))

    def _ask_for_token(self, request: web.Request) -> web.Response | None:
        assert self.token is not None
        name = f"sae-dashboard-{self.port}"
        given = request.query.get("token")
        if given is not None and same_secret(given, self.token):
            raw_path = request.rel_url.raw_path
            here = "/" + raw_path.lstrip("/")  # of `//host` a browser would make another site
            if self.proxy.is_there:  # it may have cut off a prefix, which the browser knows
                here = "./" + raw_path.rpartition("/")[2]
            response = web.Response(status=303, headers={"Location": here, "Cache-Control": "no-store"})
            attributes = self.proxy.cookie_attributes(request)
            response.set_cookie(name, self._session, max_age=COOKIE_AGE_S, httponly=True, **attributes)
            return response
        try:
            cookie = request.cookies.get(name, "")
        except CookieError:
            cookie = ""
        if same_secret(cookie, self._session):
            return None
        return refuse(401, "open the address that sae-dashboard printed when it started, with its token")


def refuse(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    """Answer with one line that says why not."""
    body = dumps({"error": printable(message)})
    return web.Response(
        status=status,
        body=body,
        content_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )
