"""A proxy before the server: JupyterHub's, Colab's, a lab's own.

    --allow-host NAME       the name in the browser's address, which the proxy passes on as Host
    --base-path /a/b/       where the page lives there. Served with and without it: some proxies cut it off, others not
    --allow-frame ORIGIN    a page of this origin may show this page in a frame

The page asks for everything by relative addresses, so it needs to be told none of these. The cookie is for the base
path alone: on a hub the servers of other users have the same name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from dashboard.errors import DashboardError

_NAME = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9]([a-z0-9._-]*[a-z0-9])?)(:[0-9]{1,5})?", re.IGNORECASE)
_PATH = re.compile(r"(/[A-Za-z0-9._~%@+,=:-]+)+/?|/")
_ORIGIN = re.compile(rf"https?://{_NAME.pattern}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Proxy:
    """What the user said of it: names in lower case, a path without its last /, and origins. All empty without one."""

    hosts: tuple[str, ...] = ()
    base_path: str = ""
    frames: tuple[str, ...] = ()

    @classmethod
    def of(cls, hosts: list[str] | None, base_path: str | None, frames: list[str] | None) -> Proxy:
        """Check the flags. Raises: DashboardError."""
        for host in hosts or ():
            if not _NAME.fullmatch(host):
                raise DashboardError(
                    f"--allow-host {host[:100]!r}: expected a name such as hub.example.org, no address"
                )
        if base_path is not None and (not _PATH.fullmatch(base_path) or ".." in base_path):
            raise DashboardError(f"--base-path {base_path[:100]!r}: expected a path such as /user/me/proxy/8765/")
        for origin in frames or ():
            if not _ORIGIN.fullmatch(origin.rstrip("/")):
                raise DashboardError(
                    f"--allow-frame {origin[:100]!r}: expected an origin such as https://hub.example.org"
                )
        return cls(
            tuple(host.lower() for host in hosts or ()),
            (base_path or "").rstrip("/"),
            tuple(origin.rstrip("/") for origin in frames or ()),
        )

    @property
    def is_there(self) -> bool:
        return bool(self.hosts or self.base_path or self.frames)

    def allows(self, host: str) -> bool:
        """Say whether a request with this Host comes by an allowed name, at any port or at the one named."""
        lowered = host.lower()
        return _NAME.fullmatch(host) is not None and bool({lowered, re.sub(r":[0-9]+$", "", lowered)} & {*self.hosts})

    def cookie_attributes(self, request: web.Request) -> dict[str, Any]:
        """Return path, samesite and secure of the cookie that stands for the token."""
        path = self.base_path + "/"
        if not self.base_path and self.allows(request.headers.get("Host", "")):
            prefix = request.headers.get("X-Forwarded-Prefix", "").rstrip("/")
            # Without a path a browser takes that of the address that it asked for.
            path = prefix + "/" if prefix and _PATH.fullmatch(prefix) and ".." not in prefix else ""
        is_secure = request.headers.get("X-Forwarded-Proto", "").split(",")[0].strip() == "https"
        if self.frames and is_secure:  # in a frame of another site a browser sends no other cookie
            return {"path": path, "samesite": "None", "secure": True}
        return {"path": path, "samesite": "Strict"}
