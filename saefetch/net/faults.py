"""Faults of the wire -> classes of `errors`: status codes, redirects, exceptions of aiohttp and of the sockets."""

from __future__ import annotations

import math
import os
import ssl
import time
from datetime import UTC
from email.utils import parsedate_to_datetime

import aiohttp
import orjson
from yarl import URL

from saefetch.errors import (
    BadAnswerError,
    BrokenBodyError,
    NotFoundError,
    RateLimitedError,
    RefusedError,
    RequestError,
    RequestRejectedError,
    ServerError,
    TimedOutError,
    TooLargeError,
    UnreachableError,
)
from saefetch.net.certificates import advice, is_untrusted

HOUR_S = 3600.0


def status_error(what: str, response: aiohttp.ClientResponse, body: bytes) -> RequestError | RefusedError:
    """Make the error for an answer that is neither 200 nor a redirect; `body` is how it starts."""
    message = f"{what}: {response.status} {response.reason or ''}".rstrip() + _said(body)
    retry_after_s = parse_retry_after(response.headers.get("Retry-After"), time.time())
    status = response.status
    if status == 429:
        hour_left_s = to_the_full_hour(response.headers.get("Date"), time.time())
        return RateLimitedError(message, retry_after_s=retry_after_s, hour_left_s=hour_left_s)
    if status in (401, 403):
        return RefusedError(message)
    if status in (404, 410):
        return NotFoundError(message)
    if status == 413:
        return TooLargeError(message)
    if status in (408, 425):
        return TimedOutError(message, retry_after_s=retry_after_s)
    if status >= 500:
        return ServerError(message, status=status, retry_after_s=retry_after_s)
    return RequestRejectedError(message)


def redirect_target(what: str, method: str, url: URL, response: aiohttp.ClientResponse) -> URL:
    location = response.headers.get("Location", "")
    try:
        target = url.join(URL(location))
    except ValueError:
        target = URL()
    if not location.isprintable():  # aiohttp would not send a control character on
        target = URL()
    if not location or target.scheme not in ("http", "https") or (url.scheme == "https" and target.scheme == "http"):
        raise RequestRejectedError(f"{what}: {response.status} redirect to {location[:200]!r}, which is not followed")
    if method != "GET" and response.status not in (307, 308):
        raise RequestRejectedError(f"{what}: {response.status} redirect to {target}; set that address as --api-url")
    return target


def translate(what: str, url: URL, exc: Exception, timeout: aiohttp.ClientTimeout) -> RequestError:
    """Turn what aiohttp and the sockets raise into our tree."""
    if isinstance(exc, aiohttp.ConnectionTimeoutError):
        return UnreachableError(f"cannot connect to {url.host}:{url.port} within {timeout.sock_connect:g} s")
    if isinstance(exc, aiohttp.SocketTimeoutError):
        return TimedOutError(f"{what}: {url.host} sent nothing for {timeout.sock_read:g} s")
    if isinstance(exc, TimeoutError):
        return TimedOutError(f"{what}: not finished after {timeout.total:g} s")
    if isinstance(exc, aiohttp.ClientConnectorDNSError) or type(exc) in (UnicodeError, UnicodeEncodeError):  # no IDNA
        return UnreachableError(f"cannot find the host {url.host}: no such name, or no network")
    if isinstance(exc, aiohttp.ClientSSLError | ssl.SSLError | aiohttp.ServerFingerprintMismatch):
        advised = f"; {advice()}" if is_untrusted(exc) else ""
        return UnreachableError(f"no secure connection to {url.host}: {exc}{advised}")
    if isinstance(exc, aiohttp.ClientConnectorError):
        reason = os.strerror(exc.os_error.errno) if exc.os_error.errno else exc.os_error
        return UnreachableError(f"cannot connect to {url.host}:{url.port}: {reason}")
    if isinstance(exc, aiohttp.ClientPayloadError):
        return BrokenBodyError(f"{what}: the answer was cut off")
    if isinstance(exc, aiohttp.ServerDisconnectedError | ConnectionError | aiohttp.ClientOSError):
        return BrokenBodyError(f"{what}: {url.host} closed the connection")
    if isinstance(exc, aiohttp.ClientError):
        return BadAnswerError(f"{what}: not a valid HTTP answer ({type(exc).__name__})")
    raise exc


def parse_retry_after(value: str | None, wall_clock: float) -> float | None:
    """Read seconds or an HTTP date; None if it is absent or no sense can be made of it."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
            seconds = date.replace(tzinfo=date.tzinfo or UTC).timestamp() - wall_clock
        except (ValueError, OverflowError):
            return None
    return None if math.isnan(seconds) else max(0.0, seconds)


def to_the_full_hour(date: str | None, wall_clock: float) -> float:
    """Return the seconds to the next full hour, UTC, by the `Date` of an answer, or by our own clock without one."""
    try:
        now = parsedate_to_datetime(date or "").timestamp()
    except (ValueError, OverflowError, TypeError):
        now = wall_clock
    return HOUR_S - now % HOUR_S


def _said(body: bytes) -> str:
    """Quote what the server said in an error's body, in a line."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    text = (answer.get("error") or answer.get("message")) if isinstance(answer, dict) else None
    return f": {' '.join(text.split())[:160]}" if isinstance(text, str) else ""
