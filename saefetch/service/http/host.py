"""Names and secrets in a request: what a `Host` names, who can reach a server, and comparison in constant time.

The guards of the service and of the dashboard both stand on this.
"""

from __future__ import annotations

import hmac
import re
from ipaddress import ip_address

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
DEFAULT_PORT = 80
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach a server that listens at `host`."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def split_host(value: str) -> tuple[str, int] | None:
    """Split a `Host` header into the name in lower case and the port; None where it is no name with a port."""
    match = _HOST.fullmatch(value)
    return None if match is None else (match[1].lower(), int(match[2] or DEFAULT_PORT))


def is_address(name: str) -> bool:
    """Say whether a name is an IP address, with or without brackets."""
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def same_secret(given: str, expected: str) -> bool:
    """Compare in a time that does not depend on where the two differ."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())
