"""Who may ask. Checked of every request, before anything of it is read.

    wrong Host             421   without a token: a page on the internet whose name leads here (DNS rebinding)
    no or wrong token      401   every address but /healthz, where there is a token, on loopback too
    foreign Origin         403   whatever is not GET or HEAD: a page of another site that makes a browser ask

Without a token the service is for loopback, and only loopback's names with the service's port are served. With a token
any name is: a proxy in front of it may have any, and a page that leads here under its own name has no token.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from saefetch.errors import UsageError
from saefetch.service.http.host import LOOPBACK_NAMES, is_loopback, same_secret, split_host
from saefetch.service.http.problems import Problem

READING = ("GET", "HEAD")
MAX_TOKEN = 4096


class Guard:
    """One server's rules. `port` is to be set when it listens.

    Raises: UsageError where others can reach `host` and there is no token.
    """

    def __init__(self, host: str, token: str | None = None, port: int = 0) -> None:
        if token is None and not is_loopback(host):
            raise UsageError(f"--host {host}: other machines can reach it, so it needs a token: --token-file FILE")
        if token is not None:
            _check_token(token, "the token")
        self.port = port
        self._token = token

    def check(self, request: web.Request, *, is_open: bool = False, by_password: bool = False) -> None:
        """Let the request pass, or raise the Problem that refuses it."""
        headers = request.headers
        host = headers.get("Host", "")
        if self._token is None:
            asked = split_host(host)
            if asked is None or asked[0] not in LOOPBACK_NAMES or asked[1] != self.port:
                raise Problem(421, f"not served under this name; ask http://127.0.0.1:{self.port}/")
        elif not is_open and not self._knows_token(request, by_password):
            schemes = "Bearer, Basic" if by_password else "Bearer"
            words = "this needs the service's token, as `Authorization: Bearer TOKEN` or as `X-Api-Key: TOKEN`"
            raise Problem(401, words, {"WWW-Authenticate": schemes.replace("Basic", 'Basic realm="saefetch"')})
        if request.method not in READING and not is_own(headers.get("Origin"), host):
            raise Problem(403, "a page of another site may not do this")

    def _knows_token(self, request: web.Request, by_password: bool) -> bool:
        assert self._token is not None
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        given = [request.headers.get("X-Api-Key", "")]
        if scheme.lower() == "bearer":
            given.append(credentials.strip(" "))
        elif scheme.lower() == "basic" and by_password:
            given.append(_password(credentials))
        return any(same_secret(text, self._token) for text in given)


def read_token(path: Path) -> str:
    """Read the token from a file: its only line. Raises: UsageError for an empty file, or one that is no token."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_TOKEN + 2).decode("ascii").rstrip("\r\n")
    except OSError as exc:
        raise UsageError(f"--token-file {path}: cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError:
        text = "\0"
    return _check_token(text, f"--token-file {path}")


def _check_token(token: str, where: str) -> str:
    if not token:
        raise UsageError(f"{where}: it is empty; put a long random word into it, such as `openssl rand -hex 32` prints")
    if len(token) > MAX_TOKEN or not all("!" <= character <= "~" for character in token):
        raise UsageError(f"{where}: expected one word of at most {MAX_TOKEN:,} letters, digits and signs of ASCII")
    return token


def is_own(origin: str | None, host: str) -> bool:
    """Say whether the page that asks, if it is a page, came from here."""
    if origin is None:
        return True
    try:
        url = urlsplit(origin)
    except ValueError:
        return False
    return url.scheme in ("http", "https") and bool(host) and url.netloc.lower() == host.lower()


def _password(credentials: str) -> str:
    try:
        return base64.b64decode(credentials.strip(" "), validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return ""
