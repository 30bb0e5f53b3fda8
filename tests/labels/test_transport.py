"""The transport: every fault is told apart, retried within its bounds, counted, and keeps the API key to itself.

Everything runs in virtual time: a timeout of 30 s or an hour's pause takes milliseconds, and each delay is exact.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import re
import socket
import ssl
import time
import traceback
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from virtual_time import now, run
from yarl import URL

from saefetch.decode import Decoder, FeatureJson
from saefetch.errors import (
    BadAnswerError,
    BrokenBodyError,
    NotFoundError,
    RateLimitedError,
    RefusedError,
    RequestError,
    RequestRejectedError,
    SaefetchError,
    ServerError,
    TimedOutError,
    TooLargeError,
    UnreachableError,
)
from saefetch.net.body import Inflater, Whole
from saefetch.net.exchange import MAX_REDIRECTS
from saefetch.net.faults import parse_retry_after, redirect_target
from saefetch.net.request import Limits, Request
from saefetch.net.transport import Transport
from standin import (
    Action,
    CorruptGzip,
    Delay,
    Fault,
    Gone,
    Mangle,
    NoAnswer,
    Oversize,
    Reset,
    Respond,
    ShortBody,
    Stall,
    Standin,
    TooMany,
    TruncateGzip,
    World,
)

MODEL, SOURCE = "gemma-2-2b", "16-gemmascope-res-16k"
FEATURE_PATH = f"/api/feature/{MODEL}/{SOURCE}/7"
OBJECT_PATH = f"/v1/{MODEL}/{SOURCE}/features/batch-0.jsonl.gz"
KEY = "sk-np-5f3c-do-not-tell"
FAST = 1000.0
PLENTY = 1 << 30
A_FULL_HOUR = 1_800_000_000.0
"""Seconds since 1970 at which the virtual clock begins."""
SLACK_S = 0.001
HTML = Respond(200, {"Content-Type": "text/html"}, b"<!DOCTYPE html><title>Just a moment</title>")
FEATURE = Decoder(FeatureJson)


class Gunzipped:
    """Sink for an object of the export."""

    def __init__(self, _etag: str) -> None:
        self._inflater = Inflater(f"GET {OBJECT_PATH}", PLENTY)
        self._pieces: list[bytes] = []

    async def feed(self, data: bytes) -> None:
        self._pieces += self._inflater.feed(data)

    async def finish(self) -> bytes:
        self._inflater.finish()
        return b"".join(self._pieces)


def feature_request(base: str, path: str = FEATURE_PATH, max_bytes: int = PLENTY, **knobs: Any) -> Request[Any]:
    url = f"{base}{path}"
    knobs = {"content_types": ("application/json",), "with_key": True} | knobs
    return Request(url, lambda _etag: Whole(f"GET {url}", max_bytes, FEATURE.document), **knobs)


def object_request(base: str) -> Request[bytes]:
    return Request(f"{base}{OBJECT_PATH}", Gunzipped)


def plain(url: str, max_bytes: int = PLENTY, *, max_unpacked: int | None = None, **knobs: Any) -> Request[bytes]:
    return Request(url, lambda _etag: Whole(f"GET {url}", max_bytes, bytes), max_bytes=max_unpacked, **knobs)


def make_transport(api_url: str, jitter: Callable[[], float] = lambda: 0.5, **limits: Any) -> Transport:
    limits = {"requests_per_second": FAST} | limits
    return Transport(Limits(**limits), api_url, api_key=KEY, now=now, jitter=jitter)


def make_standin(*faults: Fault, **knobs: Any) -> Standin:
    world = World()
    world.add_source(MODEL, SOURCE, 20)
    return Standin(world, faults=faults, lean=True, clock=now, wall=lambda: A_FULL_HOUR + now(), **knobs)


@asynccontextmanager
async def serving(*faults: Fault, **limits: Any) -> AsyncIterator[tuple[Standin, Transport]]:
    async with make_standin(*faults) as standin, make_transport(standin.api_url, **limits) as transport:
        yield standin, transport


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw_server(handle: Handler, ssl: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Run a server that does what it likes with each connection."""
    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=ssl)
    async with server:
        yield "http://{}:{}".format(*server.sockets[0].getsockname())


def saying(*answers: bytes, heads: list[bytes] | None = None, times: list[float] | None = None) -> Handler:
    """Answer the n-th request with the n-th answer, later ones with the last, and close the connection."""
    script = list(answers)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if heads is not None:
            heads.append(head)
        if times is not None:
            times.append(now())
        writer.write(script.pop(0) if len(script) > 1 else script[0])
        await writer.drain()
        writer.close()

    return handle


def answer(body: bytes = b"{}", status: str = "200 OK", **headers: str) -> bytes:
    fields = {"Content-Type": "application/json", "Content-Length": str(len(body))} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{head}Connection: close\r\n\r\n".encode() + body


async def failure_of(awaitable: Awaitable[Any]) -> SaefetchError:
    """Return the error, after a look at its whole traceback for the key."""
    try:
        await awaitable
    except SaefetchError as exc:
        assert KEY not in "".join(traceback.format_exception(exc))
        assert KEY not in repr(exc)
        return exc
    raise AssertionError("it did not fail")


# -- every fault -------------------------------------------------------------------------------------------------------

API_FAULTS: list[tuple[Action, type[SaefetchError], str]] = [
    (NoAnswer(), TimedOutError, "127.0.0.1 sent nothing for 30 s"),
    (Stall(0), TimedOutError, "127.0.0.1 sent nothing for 30 s"),
    (Stall(64), TimedOutError, "127.0.0.1 sent nothing for 30 s"),
    (Delay(31), TimedOutError, "127.0.0.1 sent nothing for 30 s"),
    (Reset(0), BrokenBodyError, "cut off|closed the connection"),
    (Reset(64), BrokenBodyError, "cut off|closed the connection"),
    (ShortBody(0), BrokenBodyError, "cut off"),
    (ShortBody(64), BrokenBodyError, "cut off"),
    (HTML, BadAnswerError, "expected application/json, got text/html: '<!DOCTYPE html>"),
    (Respond(200), BadAnswerError, "expected application/json, got application/octet-stream"),
    (Respond(200, {"Content-Type": "application/json"}), BadAnswerError, "not the JSON"),
    (Respond(200, {"Content-Type": "application/json"}, b'{"index": "7'), BadAnswerError, "not the JSON"),
    (Respond(200, {"Content-Type": "application/json"}, b"[1, 2]"), BadAnswerError, "not the JSON"),
    (
        Respond(200, {"Content-Type": "application/json", "Content-Encoding": "br"}, b"{}"),
        BadAnswerError,
        "Content-Encoding br was not asked for",
    ),
    (
        Respond(200, {"Content-Type": "application/json", "Content-Encoding": "gzip"}, b'{"index": "7"}'),
        BrokenBodyError,
        "compressed data is damaged",
    ),
    (
        Respond(200, {"Content-Type": "application/json", "Content-Encoding": "gzip"}, gzip.compress(b"{}")[:-3]),
        BrokenBodyError,
        "ends early",
    ),
    (Respond(204), RequestRejectedError, "204 No Content"),
    (Respond(304), RequestRejectedError, "304 Not Modified"),
    (Respond(302), RequestRejectedError, "302 redirect to ''"),
    (Respond(301, {"Location": "ftp://x/"}), RequestRejectedError, "301 redirect to 'ftp://x/', which is not followed"),
    (Respond(301, {"Location": "http://h:99999/"}), RequestRejectedError, "which is not followed"),
    (Respond(301, {"Location": "mailto:x"}), RequestRejectedError, "which is not followed"),
    (
        Respond(400, {}, b'{"message": "[0].index  is\\n required"}'),
        RequestRejectedError,
        r"400 .*: \[0\]\.index is req",
    ),
    (Respond(401), RefusedError, "401 Unauthorized"),
    (Respond(403, {}, b"<html>no</html>"), RefusedError, "403 Forbidden"),
    (Respond(404, {}, b'{"error": "not here"}'), NotFoundError, "404 Not Found: not here"),
    (Gone(), NotFoundError, "404 Not Found: The model, source, or feature"),
    (Respond(405), RequestRejectedError, "405 Method Not Allowed"),
    (Respond(408), TimedOutError, "408 Request Timeout"),
    (Respond(410), NotFoundError, "410 Gone"),
    (Respond(413), TooLargeError, "413 "),
    (Respond(418), RequestRejectedError, "418 "),
    (TooMany(2), RateLimitedError, "429 Too Many Requests: Rate limit exceeded"),
    (Respond(500, {}, b'{"message": "Unknown Error"}'), ServerError, "500 Internal Server Error: Unknown Error"),
    (Respond(502, {}, b"<html>bad gateway</html>"), ServerError, "502 Bad Gateway$"),
    (Respond(503, {"Retry-After": "9"}), ServerError, "503 Service Unavailable"),
    (Respond(504), ServerError, "504 Gateway Timeout"),
    (Respond(520, {}, b'{"error": {"nested": 1}}'), ServerError, "520"),
    (Mangle(lambda _: b"<html>"), BadAnswerError, "not the JSON"),
]


def name_of(value: Any) -> str:
    """Name a fault the same way in every process: without a function's address."""
    return value.__name__ if isinstance(value, type) else re.sub(r" at 0x\w+", "", str(value))[:80]


EXPORT_FAULTS: list[tuple[Action, type[SaefetchError], str]] = [
    (NoAnswer(), TimedOutError, "127.0.0.1 sent nothing for 30 s"),
    (Stall(64), TimedOutError, "127.0.0.1 sent nothing for 30 s"),
    (Reset(64), BrokenBodyError, "cut off|closed the connection"),
    (ShortBody(64), BrokenBodyError, "cut off"),
    (TruncateGzip(-1), BrokenBodyError, "ends early"),
    (TruncateGzip(0), BrokenBodyError, "ends early"),
    (CorruptGzip(), BrokenBodyError, "damaged"),
    (HTML, BrokenBodyError, "damaged"),
    (Gone(), NotFoundError, "404 Not Found"),
    (Respond(503), ServerError, "503 Service Unavailable"),
]


async def meet(fault: Fault, error_class: type[SaefetchError], message: str, *, export: bool) -> None:
    """Send one request into the fault; check the class, the message, the counters, and whether it recovers."""
    async with serving(fault) as (standin, transport):
        base = standin.export_url if export else standin.api_url
        request = object_request(base) if export else feature_request(base)
        retried = issubclass(error_class, RequestError) and error_class.retry
        if fault.times == 1 and retried:
            assert await transport.send(request)
            n_failures = 1
        else:
            error = await failure_of(transport.send(request))
            assert type(error) is error_class
            assert re.search(message, str(error)), error
            path = OBJECT_PATH if export else FEATURE_PATH
            assert path in str(error), "the message does not say which request"
            assert "127.0.0.1" in str(error) or export
            n_failures = transport.limits.max_attempts if retried else 1
        counters = transport.counters
        assert counters.requests == len(standin.requests)
        assert counters.requests == n_failures + (fault.times == 1 and retried)
        assert counters.retries == counters.requests - 1
        assert counters.rate_limited == (n_failures if error_class is RateLimitedError else 0)


@pytest.mark.parametrize("times", [1, None], ids=["once", "always"])
@pytest.mark.parametrize(("action", "error_class", "message"), API_FAULTS, ids=name_of)
def test_a_fault_of_the_api_has_its_class_and_recovers_if_it_can(
    action: Action, error_class: type[SaefetchError], message: str, times: int | None
) -> None:
    run(meet(Fault(action, times=times), error_class, message, export=False))


@pytest.mark.parametrize("times", [1, None], ids=["once", "always"])
@pytest.mark.parametrize(("action", "error_class", "message"), EXPORT_FAULTS, ids=name_of)
def test_a_fault_of_the_export_has_its_class_and_recovers_if_it_can(
    action: Action, error_class: type[SaefetchError], message: str, times: int | None
) -> None:
    run(meet(Fault(action, times=times), error_class, message, export=True))


RAW_FAULTS = [
    (b"", BrokenBodyError, "127.0.0.1 closed the connection"),
    (b"SSH-2.0-OpenSSH_9.6\r\n", BadAnswerError, "not a valid HTTP answer"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", BrokenBodyError, "closed the connection"),
    (b"HTTP/1.1 200 OK\r\nX: \0\r\n\r\n", BadAnswerError, "not a valid HTTP answer"),
    (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", BadAnswerError, "not a valid HTTP answer"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", BadAnswerError, "not a valid HTTP answer"),
    (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}",
        BrokenBodyError,
        "cut off",
    ),
    (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
        (BrokenBodyError, BadAnswerError),
        "cut off|not a valid HTTP answer",
    ),
]


@pytest.mark.parametrize(("said", "error_class", "message"), RAW_FAULTS, ids=lambda value: repr(value)[:40])
def test_what_is_not_http_is_told_apart_and_recovers(said: bytes, error_class: Any, message: str) -> None:
    async def main() -> None:
        async with raw_server(saying(said)) as base, make_transport(base) as transport:
            error = await failure_of(transport.send(feature_request(base)))
            assert isinstance(error, error_class)
            assert re.search(message, str(error)), error
            assert FEATURE_PATH in str(error)
        good = answer(b'{"index": "7"}')
        async with raw_server(saying(said, good)) as base, make_transport(base) as transport:
            assert await transport.send(feature_request(base)) == (FeatureJson(index="7"), False)

    run(main())


@settings(max_examples=120, deadline=None)
@given(
    head=st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 302 Found\r\nLocation: ", b"HTTP/1.1 503 \r\n"]),
    rest=st.binary(max_size=60)
    | st.text("/:@[]%?#\r\n .\udcff", max_size=40).map(lambda text: text.encode("utf-8", "surrogateescape")),
    ended=st.booleans(),
)
@example(head=b"HTTP/1.1 302 Found\r\nLocation: ", rest=b"http:///", ended=True)
@example(head=b"HTTP/1.1 302 Found\r\nLocation: ", rest=b"http://a..b/", ended=True)
@example(head=b"HTTP/1.1 302 Found\r\nLocation: ", rest=b"http://u:p@:1", ended=True)
@example(head=b"HTTP/1.1 302 Found\r\nLocation: ", rest=b"//", ended=True)
@example(head=b"HTTP/1.1 302 Found\r\nLocation: ", rest=b"!\x01/\x01", ended=True)
@example(head=b"HTTP/1.1 503 \r\n", rest=b"Retry-After: Mon, 99 Foo", ended=True)
def test_whatever_a_server_says_it_is_an_answer_or_an_error_of_ours(head: bytes, rest: bytes, ended: bool) -> None:
    async def main() -> None:
        async with (
            raw_server(saying(head + rest + b"\r\n\r\n" * ended)) as base,
            make_transport(base, max_attempts=1) as transport,
        ):
            try:
                await transport.send(plain(f"{base}/x"))
            except SaefetchError as exc:
                str(exc).encode()  # it can be printed

    run(main())


# -- no connection -----------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def unreachable(base: str, message: str, *, takes_s: float = 0.0) -> None:
    async with make_transport(base) as transport:
        began = now()
        error = await failure_of(transport.send(feature_request(base)))
        assert type(error) is UnreachableError
        assert re.search(message, str(error)), error
        assert URL(base).host in str(error)
        assert error.stop
        assert transport.counters.requests == 2, "a host that never answered is not asked for long"
        assert now() - began == pytest.approx(2 * takes_s + 0.25, abs=2)  # aiohttp rounds up


def test_a_refused_connection_is_unreachable() -> None:
    port = free_port()
    run(unreachable(f"http://127.0.0.1:{port}", f"cannot connect to 127.0.0.1:{port}: Connection refused"))


@pytest.mark.parametrize("host", [".".join(["x" * 60] * 5), "a..b", "x" * 64 + ".invalid"])
def test_a_name_that_does_not_exist_is_unreachable(host: str) -> None:
    run(unreachable(f"http://{host}", "cannot find the host"))


def test_tls_to_a_plaintext_port_is_unreachable() -> None:
    async def puzzled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async def main() -> None:
        async with raw_server(puzzled) as base:
            await unreachable(base.replace("http:", "https:"), "no secure connection to 127.0.0.1")

    run(main())


# For 127.0.0.1 until 2126, signed by itself; made with `openssl req -x509 -newkey ec -nodes -days 36500`.
SELF_SIGNED = """-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgmCauEtjm6RKDi6/Y
7LQ+JTwxPQKNK07O1cReP/fFAsWhRANCAAR6pVYzTMx5FhiWMjigp5xDlScM+Hit
ZyPJMy4MJtmBmoWnHhAiR9x+oDDuc/1d79morHaAu07XrcGnNZJjWcTn
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBkDCCATagAwIBAgIULqbAcfh50EB6SbiIMQP6uE6PSQEwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJMTI3LjAuMC4xMCAXDTI2MTEyMjIyMDkzNFoYDzIxMjYxMDI5
MjIwOTM0WjAUMRIwEAYDVQQDDAkxMjcuMC4wLjEwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAR6pVYzTMx5FhiWMjigp5xDlScM+HitZyPJMy4MJtmBmoWnHhAiR9x+
oDDuc/1d79morHaAu07XrcGnNZJjWcTno2QwYjAdBgNVHQ4EFgQUGBU28WI12Exr
u2e22tXpEIxj1v4wHwYDVR0jBBgwFoAUGBU28WI12Exru2e22tXpEIxj1v4wDwYD
VR0TAQH/BAUwAwEB/zAPBgNVHREECDAGhwR/AAABMAoGCCqGSM49BAMCA0gAMEUC
IBRNWryerRk2VNJEdPB2tvOYdm49zZjKqD8BClndRY12AiEAqShlkIrOusD7hb42
b8JnI+BEZO+cjtexNPXgGsHI41I=
-----END CERTIFICATE-----
"""


def test_a_certificate_that_nobody_vouches_for_is_unreachable(tmp_path: Path) -> None:
    (tmp_path / "tls.pem").write_text(SELF_SIGNED)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "tls.pem")

    async def main() -> None:
        async with raw_server(saying(answer()), ssl=context) as base:
            await unreachable(base.replace("http:", "https:"), "no secure connection .*self-signed certificate")

    run(main())


def test_no_connection_in_time_is_unreachable() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        try:
            for _ in range(3):  # fill the backlog, so that the next SYN is dropped
                waiting.append(socket.socket())
                waiting[-1].setblocking(False)
                waiting[-1].connect_ex(listener.getsockname())
            base = "http://{}:{}".format(*listener.getsockname())
            run(unreachable(base, "cannot connect to 127.0.0.1:[0-9]+ within 10 s", takes_s=10))
        finally:
            for other in waiting:
                other.close()


def test_a_tls_handshake_that_hangs_is_unreachable() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def main() -> None:
        async with raw_server(silent) as base:
            await unreachable(base.replace("http:", "https:"), "within 10 s", takes_s=10)

    run(main())


@pytest.mark.parametrize(("max_wait_s", "waited_s"), [(3900, 120), (7, 7)])
def test_a_host_that_has_answered_and_then_refuses_is_waited_for_by_time_with_one_probe(
    max_wait_s: float, waited_s: float
) -> None:
    async def main() -> None:
        async with make_standin() as standin:
            base = standin.api_url
            transport = make_transport(base, max_wait_s=max_wait_s)
            await transport.__aenter__()
            await transport.send(feature_request(base))
        async with transport:
            began, before = now(), transport.counters.requests
            errors = await asyncio.gather(*(failure_of(transport.send(feature_request(base))) for _ in range(8)))
            assert {type(error) for error in errors} == {UnreachableError}
            assert all(f"keeps failing, for {waited_s} s" in str(error) for error in errors)
            assert now() - began == pytest.approx(waited_s, abs=SLACK_S)
            assert transport.counters.requests - before <= 8 + 33, "eight were under way, then one asked for all"

    run(main())


@pytest.mark.parametrize("down_s", [1, 20, 110])
def test_a_restart_is_sat_out_and_everything_comes(down_s: float) -> None:
    async def main() -> None:
        async with make_standin() as standin, make_transport(standin.api_url) as transport:
            await transport.send(feature_request(standin.api_url))
            before, began = len(standin.requests), now()
            restart = asyncio.create_task(standin.refuse_connections(down_s))
            await asyncio.sleep(0.1)
            requests = [feature_request(standin.api_url) for _ in range(20)]
            assert all(await asyncio.gather(*(transport.send(request) for request in requests)))
            await restart
            assert len(standin.requests) - before == 20, "what the probe got is not asked for again"
            assert down_s <= now() - began <= down_s + 9

    run(main())


def test_a_body_that_drips_too_long_is_timed_out() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n")
        for _ in range(100):
            await asyncio.sleep(21)
            writer.write(b" ")
        writer.close()

    async def main() -> None:
        async with raw_server(drip) as base, make_transport(base, max_attempts=1) as transport:
            error = await failure_of(transport.send(feature_request(base)))
            assert type(error) is TimedOutError
            assert "not finished after 300 s" in str(error)
            assert now() == pytest.approx(300, abs=2)
            assert transport.counters.bytes_received == 14

    run(main())


# -- retries -----------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    jitters=st.lists(st.floats(0, 1, exclude_max=True), min_size=8, max_size=8),
    retry_after=st.none() | st.integers(0, 100),
    base_s=st.floats(0.01, 5),
    cap_s=st.floats(0.01, 40),
    max_attempts=st.integers(1, 8),
)
def test_delays_are_within_their_bounds_and_never_before_retry_after(
    jitters: list[float], retry_after: int | None, base_s: float, cap_s: float, max_attempts: int
) -> None:
    async def main() -> None:
        times: list[float] = []
        headers = {} if retry_after is None else {"Retry_After": str(retry_after)}
        draw = iter(jitters)
        async with (
            raw_server(saying(answer(status="503 Busy", **headers), times=times)) as base,
            make_transport(
                base,
                jitter=lambda: next(draw),
                max_attempts=max_attempts,
                backoff_base_s=base_s,
                backoff_cap_s=cap_s,
            ) as transport,
        ):
            error = await failure_of(transport.send(feature_request(base)))
            assert isinstance(error, ServerError)
            assert error.retry_after_s == retry_after
        assert len(times) == max_attempts
        for number, (sent, again) in enumerate(pairwise(times)):
            bound = min(cap_s, base_s * 2**number)
            asked = retry_after or 0
            assert asked - SLACK_S <= again - sent <= asked + bound + 2 * SLACK_S
            assert again - sent == pytest.approx(asked + bound * jitters[number], abs=2 * SLACK_S)

    run(main())


@pytest.mark.parametrize("wait_s", [1.0, 90.0])
def test_an_http_date_is_waited_for(wait_s: float) -> None:
    async def main() -> None:
        times: list[float] = []
        not_before = time.time() + wait_s
        busy = answer(status="503 Busy", Retry_After=formatdate(not_before + 1, usegmt=True))  # whole seconds, cut off
        async with (
            raw_server(saying(busy, answer(b'{"index": 7}'), times=times)) as base,
            make_transport(base, jitter=lambda: 0.0) as transport,
        ):
            await transport.send(feature_request(base))
        assert wait_s - 0.5 < times[1] - times[0] <= wait_s + 1.01

    run(main())


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("0", 0),
        ("-5", 0),
        ("1.5", 1.5),
        ("120", 120),
        ("Thu, 01 Jan 1970 00:20:00 GMT", 200),
        ("Thursday, 01-Jan-70 00:20:00 GMT", 200),
        ("Thu Jan  1 00:20:00 1970", 200),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Thu, 99 Foo 1970 00:00:00 GMT", None),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_retry_after_is_read_in_all_its_forms_wherever_we_are(
    value: str | None, seconds: float | None, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert parse_retry_after(value, wall_clock=1000.0) == seconds
    finally:
        monkeypatch.undo()
        time.tzset()


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40) | st.text("0123456789 :,-+JanTueGMT", max_size=40))
def test_no_retry_after_makes_us_stumble(value: str) -> None:
    seconds = parse_retry_after(value, 1000.0)
    assert seconds is None or seconds >= 0


@pytest.mark.parametrize("unit", ["1", "60", "10000000000", "1e300", "inf", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_retry_after_beyond_all_patience_is_not_a_reason_to_come_early(unit: str) -> None:
    async def main() -> None:
        times: list[float] = []
        busy = answer(status="503 Busy", Retry_After=unit)
        async with (
            raw_server(saying(busy, times=times)) as base,
            make_transport(base, max_wait_s=50, max_attempts=2) as transport,
        ):
            await failure_of(transport.send(feature_request(base)))
        assert len(times) == (2 if unit == "1" else 1)

    run(main())


@pytest.mark.parametrize(("retry_after", "n_attempts"), [(11, 1), (10, 2), (4, 3), (1, 6)])
def test_the_waits_of_one_request_are_capped_in_sum(retry_after: int, n_attempts: int) -> None:
    async def main() -> None:
        times: list[float] = []
        busy = answer(status="503 Busy", Retry_After=str(retry_after))
        async with (
            raw_server(saying(busy, times=times)) as base,
            make_transport(base, jitter=lambda: 0.0, max_wait_s=10) as transport,
        ):
            await failure_of(transport.send(feature_request(base)))
        assert len(times) == n_attempts
        assert times[-1] - times[0] <= 10 + SLACK_S

    run(main())


@pytest.mark.parametrize(
    ("said", "n_requests"),
    [
        (answer(status="500 Oops"), 1),
        (answer(status="413 Big"), 1),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 3),
        (answer(status="503 Busy", Retry_After="1"), 3),
        (answer(status="429 Slow", Retry_After="1"), 3),
    ],
)
def test_a_divisible_request_comes_back_at_once_when_a_smaller_one_may_succeed(said: bytes, n_requests: int) -> None:
    async def main() -> None:
        heads: list[bytes] = []
        async with raw_server(saying(said, heads=heads)) as base, make_transport(base, max_attempts=3) as transport:
            await failure_of(transport.send(plain(f"{base}/x", divisible=True)))
        assert len(heads) == n_requests

    run(main())


def test_each_attempt_has_a_sink_of_its_own() -> None:
    async def main() -> None:
        half = b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\nETag: "a"\r\n\r\n12345'
        whole = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\n1234567890"
        etags: list[str] = []

        def sink(etag: str) -> Whole[bytes]:
            etags.append(etag)
            return Whole("x", PLENTY, bytes)

        async with raw_server(saying(half, whole)) as base, make_transport(base) as transport:
            assert await transport.send(Request(f"{base}/x", sink)) == b"1234567890"
            assert transport.counters.bytes_received == 15
        assert etags == ['"a"', ""]

    run(main())


def test_a_get_on_a_connection_that_was_kept_alive_is_not_sent_twice_behind_our_back() -> None:
    async def main() -> None:
        n_heads = 0

        async def first_answers_then_hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal n_heads
            for number in range(2):
                await reader.readuntil(b"\r\n\r\n")
                n_heads += 1
                if number == 0:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            writer.close()

        async with raw_server(first_answers_then_hangs_up) as base, make_transport(base, max_attempts=1) as transport:
            await transport.send(plain(f"{base}/1"))
            error = await failure_of(transport.send(plain(f"{base}/2")))
            assert isinstance(error, BrokenBodyError)
            assert transport.counters.requests == n_heads == 2

    run(main())


# -- 429 ---------------------------------------------------------------------------------------------------------------


def test_one_429_holds_everybody_and_one_probe_tries_again() -> None:
    async def main() -> None:
        async with serving(Fault(TooMany(), skip=4, times=3), concurrency=4) as (standin, transport):
            requests = [feature_request(standin.api_url) for _ in range(12)]
            await asyncio.gather(*(transport.send(request) for request in requests))
            times = [record.time_s for record in standin.requests]
            statuses = [record.status for record in standin.requests]
            paused = [b - a for a, b in pairwise(times) if b - a > 1]
            assert paused == pytest.approx([60], abs=SLACK_S), "three 429s at once are one pause"
            probe = next(at for at, time_s in enumerate(times) if time_s > 50)
            assert statuses[probe] == 200
            assert times[probe + 1] >= times[probe]
            assert transport.counters.rate_limited == 3
            assert transport.counters.requests == len(times) == 15
            assert transport.paused_s is None

    run(main())


def test_while_it_is_paused_it_says_for_how_long() -> None:
    async def main() -> None:
        async with serving(Fault(TooMany(100))) as (standin, transport):
            sending = asyncio.create_task(transport.send(feature_request(standin.api_url)))
            await asyncio.sleep(40)
            assert transport.paused_s == pytest.approx(60, abs=SLACK_S)
            await sending
            assert transport.paused_s is None
            assert [record.time_s for record in standin.requests] == pytest.approx([0, 100], abs=SLACK_S)

    run(main())


def test_a_429_that_lasts_longer_than_the_user_waits_ends_with_the_hosts_name() -> None:
    async def main() -> None:
        async with serving(Fault(TooMany(), times=None), max_wait_s=100) as (standin, transport):
            error = await failure_of(transport.send(feature_request(standin.api_url)))
            assert isinstance(error, RateLimitedError)
            assert error.stop
            assert standin.api_url in str(error)
            assert "--max-wait-s 100" in str(error)
            assert [record.time_s for record in standin.requests] == pytest.approx([0, 60], abs=SLACK_S)

    run(main())


@pytest.mark.parametrize("concurrency", [1, 2, 8])
def test_an_hour_of_429s_is_sat_out(concurrency: int) -> None:
    async def main() -> None:
        began = now()
        hour = Fault(TooMany(), match=lambda record: now() < began + 3600, times=None)
        async with serving(hour, concurrency=concurrency) as (standin, transport):
            requests = [feature_request(standin.api_url) for _ in range(concurrency)]
            assert all(await asyncio.gather(*(transport.send(request) for request in requests)))
            # 60 + 120 + 240 + 480 + 960 s, and then not 1800 s but the full hour and half of what chance may add
            assert now() - began == pytest.approx(3610, abs=1 + SLACK_S)
            assert standin.requests

    run(main())


def test_a_cancelled_probe_leaves_the_others_a_way_out() -> None:
    async def main() -> None:
        async with serving(Fault(TooMany(5)), Fault(NoAnswer())) as (standin, transport):
            first = asyncio.create_task(transport.send(feature_request(standin.api_url)))
            await asyncio.sleep(10)  # refused, paused, and now the probe that gets no answer
            assert len(standin.requests) == 2
            second = asyncio.create_task(transport.send(feature_request(standin.api_url)))
            await asyncio.sleep(1)
            assert len(standin.requests) == 2
            first.cancel()
            assert await second
            assert transport.paused_s is None

    run(main())


def test_near_the_end_of_the_quota_requests_spread_out() -> None:
    async def main() -> None:
        said = answer(b'{"index": 7}', x_limit_remaining="500")
        times: list[float] = []
        async with raw_server(saying(said, times=times)) as base, make_transport(base) as transport:
            for _ in range(4):
                await transport.send(feature_request(base))
            assert transport.quota_left == 500
        gaps = [b - a for a, b in pairwise(times)]
        assert gaps[1:] == pytest.approx([0.5, 0.5], abs=SLACK_S)

    run(main())


# -- concurrency and rate ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 5])
def test_no_more_requests_at_once_than_allowed_and_no_fewer(concurrency: int) -> None:
    async def main() -> None:
        async with (
            make_standin(latency_s=0.5) as standin,
            make_transport(standin.api_url, concurrency=concurrency) as transport,
        ):
            await asyncio.gather(*(transport.send(feature_request(standin.api_url)) for _ in range(20)))
            assert standin.max_in_flight == concurrency
            assert now() == pytest.approx(20 / concurrency * 0.5, rel=0.1)

    run(main())


def test_the_rate_holds_for_retries_and_redirects_to_either_origin() -> None:
    async def main() -> None:
        standin = make_standin()
        async with standin, make_transport(standin.api_url, requests_per_second=5, backoff_base_s=0.01) as transport:
            hop = f"{standin.export_url}{OBJECT_PATH}"
            standin.faults += [
                Fault(Respond(500), match="/api/", times=10, probability=0.3),
                Fault(Respond(307, {"Location": hop}), match="/api/", times=10, probability=0.3),
            ]
            requests = [plain(f"{standin.api_url}{FEATURE_PATH}") for _ in range(30)]
            await asyncio.gather(*(transport.send(request) for request in requests))
            times = [record.time_s for record in standin.requests]
            assert transport.counters.requests == len(times) > 35
            for first, begin in enumerate(times):
                for last in range(first, len(times)):
                    assert last - first + 1 <= 5 * (times[last] - begin) + 5 + 0.1

    run(main())


def test_without_a_rate_of_the_users_each_origin_has_its_own() -> None:
    async def main() -> None:
        async with serving(requests_per_second=None, api_requests_per_second=2, export_requests_per_second=50) as (
            standin,
            transport,
        ):
            await asyncio.gather(
                *(transport.send(feature_request(standin.api_url)) for _ in range(6)),
                *(transport.send(object_request(standin.export_url)) for _ in range(60)),
            )
            latest = {record.origin: record.time_s for record in standin.requests}
            assert latest["api"] == pytest.approx((6 - 2) / 2, abs=0.01)
            assert latest["export"] < 3.01

    run(main())


# -- redirects ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("relative", [True, False])
def test_a_get_follows_redirects_and_the_key_stays_behind(status: int, relative: bool) -> None:
    async def main() -> None:
        async with serving() as (standin, transport):
            target = FEATURE_PATH if relative else f"{standin.api_url}{FEATURE_PATH}"
            standin.faults.append(Fault(Respond(status, {"Location": target})))
            feature, _ = await transport.send(feature_request(standin.api_url, "/old"))
            assert feature.index == "7"
            assert [record.path for record in standin.requests] == ["/old", FEATURE_PATH]
            assert [record.headers.get("x-api-key") for record in standin.requests] == [KEY, None]
            assert transport.counters.requests == 2
            assert transport.counters.retries == 0

    run(main())


def test_the_key_does_not_come_back_after_a_detour() -> None:
    async def main() -> None:
        async with serving() as (standin, transport):
            standin.faults += [
                Fault(Respond(302, {"Location": f"{standin.export_url}/there"}), match="/old"),
                Fault(Respond(302, {"Location": f"{standin.api_url}{FEATURE_PATH}"}), match="/there"),
            ]
            await transport.send(feature_request(standin.api_url, "/old"))
            assert [record.origin for record in standin.requests] == ["api", "export", "api"]
            assert [record.headers.get("x-api-key") for record in standin.requests] == [KEY, None, None]

    run(main())


@pytest.mark.parametrize(("status", "followed"), [(301, False), (302, False), (303, False), (307, True), (308, True)])
def test_a_post_follows_only_redirects_that_keep_it_a_post(status: int, followed: bool) -> None:
    async def main() -> None:
        async with serving() as (standin, transport):
            standin.faults.append(Fault(Respond(status, {"Location": "/api/features"})))
            asked = [{"modelId": MODEL, "layer": SOURCE, "index": 7, "maxActsToReturn": 1}]
            url = f"{standin.api_url}/old"
            request = plain(url, json=asked)
            if followed:
                assert orjson.loads(await transport.send(request))[0]["index"] == "7"
                assert [(record.method, record.json()) for record in standin.requests] == [("POST", asked)] * 2
            else:
                error = await failure_of(transport.send(request))
                assert isinstance(error, RequestRejectedError)
                assert "--api-url" in str(error)

    run(main())


def test_redirects_in_a_circle_end() -> None:
    async def main() -> None:
        async with serving(Fault(Respond(302, {"Location": FEATURE_PATH}), times=None)) as (standin, transport):
            error = await failure_of(transport.send(feature_request(standin.api_url)))
            assert isinstance(error, RequestRejectedError)
            assert "redirects in a row" in str(error)
            assert standin.api_url in str(error)
            assert len(standin.requests) == MAX_REDIRECTS + 1 == transport.counters.requests

    run(main())


def test_a_redirect_never_leaves_tls() -> None:
    response: Any = SimpleNamespace(status=301, headers={"Location": "http://x.org/a"})
    with pytest.raises(RequestRejectedError, match=r"301 redirect to 'http://x\.org/a', which is not followed"):
        redirect_target("GET https://x.org/a", "GET", URL("https://x.org/a"), response)
    response.headers["Location"] = "//y.org/b"
    assert redirect_target("GET https://x.org/a", "GET", URL("https://x.org/a"), response) == URL("https://y.org/b")


# -- sizes -------------------------------------------------------------------------------------------------------------


def packed_blanks(n: int) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
    blank = b" " * (1 << 16)
    return b"".join([*(deflate.compress(blank[: n - done]) for done in range(0, n, len(blank))), deflate.flush()])


@pytest.mark.parametrize("packed", [True, False])
def test_a_body_may_be_as_large_as_the_cap_and_no_larger(packed: bool) -> None:
    async def main() -> None:
        body = packed_blanks(5000) if packed else b" " * 5000
        headers = {"Content_Encoding": "gzip"} if packed else {}
        async with raw_server(saying(answer(body, **headers))) as base:
            async with make_transport(base, max_response_bytes=5000) as transport:
                assert len(await transport.send(plain(f"{base}/x", 5000))) == 5000
                assert transport.counters.bytes_received == len(body), "what came over the wire"
            async with make_transport(base, max_response_bytes=4999) as transport:
                error = await failure_of(transport.send(plain(f"{base}/x", PLENTY if packed else 4999)))
                assert type(error) is TooLargeError
                assert "4,999 bytes" in str(error)
                assert transport.counters.requests == 1
                if packed:
                    assert len(await transport.send(plain(f"{base}/x", max_unpacked=5000))) == 5000

    run(main())


@pytest.mark.parametrize("packed", [True, False])
def test_a_bomb_costs_no_memory(packed: bool) -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n")
        writer.write(b"Content-Encoding: gzip\r\n\r\n" if packed else b"\r\n")
        try:
            for _ in range(1 if packed else 1000):
                writer.write(bomb if packed else b" " * 65_536)
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()

    bomb = packed_blanks(64 << 20) if packed else b""

    async def main() -> None:
        async with raw_server(flood) as base, make_transport(base, max_response_bytes=2 << 20) as transport:
            error = await failure_of(transport.send(feature_request(base, max_bytes=PLENTY if packed else 2 << 20)))
            assert type(error) is TooLargeError
            assert transport.counters.bytes_received < 4 << 20

    tracemalloc.start()
    try:
        run(main())
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 12 << 20


def test_an_oversize_answer_of_the_stand_in_is_not_read_to_its_end() -> None:
    async def main() -> None:
        async with serving(Fault(Oversize(1 << 20), times=None)) as (standin, transport):
            error = await failure_of(transport.send(feature_request(standin.api_url, max_bytes=100_000)))
            assert type(error) is TooLargeError
            assert transport.counters.requests == len(standin.requests) == 1

    run(main())


# -- content -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        lambda body: body.replace(b'"index"', b'"x": NaN, "index"', 1),
        lambda body: body.replace(b'"index"', b'"x": "\x01\n", "index"', 1),
        lambda body: body.replace(b'"index"', b'"vectorLabel": "\xff", "pos_str": ["\\ud83d"], "index"', 1),
        lambda body: body.replace(b'"maxActApprox":', b'"maxActApprox":-Infinity, "y":', 1),
    ],
)
def test_malformed_json_is_mended_without_a_retry(damage: Callable[[bytes], bytes]) -> None:
    async def main() -> None:
        async with serving(Fault(Mangle(damage), times=None)) as (standin, transport):
            feature, repaired = await transport.send(feature_request(standin.api_url))
            assert (feature.index, repaired) == ("7", True)
            assert transport.counters.requests == 1

    run(main())


# -- the key -----------------------------------------------------------------------------------------------------------


def test_the_key_goes_to_the_apis_origin_and_only_when_asked() -> None:
    async def main() -> None:
        async with serving() as (standin, transport):
            await transport.send(feature_request(standin.api_url))
            await transport.send(feature_request(standin.api_url, with_key=False))
            await transport.send(object_request(standin.export_url))
            other = standin.api_url.replace("127.0.0.1", "localhost")
            await failure_of(transport.send(feature_request(standin.export_url)))
            await transport.send(feature_request(other))
            assert [record.headers.get("x-api-key") for record in standin.requests][:3] == [KEY, None, None]
            assert not any("x-api-key" in record.headers for record in standin.requests[1:])
            assert not any(KEY in str(record.headers) for record in standin.requests[1:])

    run(main())


@pytest.mark.parametrize(
    "echo",
    [
        answer(b'{"error": "bad key %b"}' % KEY.encode(), status="401 Unauthorized"),
        answer(b'{"message": "bad key %b"}' % KEY.encode(), status="500 Oops"),
        answer(b"bad key %b" % KEY.encode(), Content_Type="text/html"),
        answer(status=f"400 bad key {KEY}"),
        answer(status="302 Found", Location=f"ftp://x/?key={KEY}"),
        answer(status="302 Found", Location=f"http://127.0.0.1:1/?key={KEY}"),
        answer(Content_Encoding=KEY),
    ],
)
def test_a_server_that_echoes_the_key_does_not_get_it_into_our_messages(
    echo: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        heads: list[bytes] = []
        async with raw_server(saying(echo, heads=heads)) as base, make_transport(base, max_attempts=2) as transport:
            error = await failure_of(transport.send(feature_request(base)))
            assert KEY.encode() in heads[0]
            assert base in str(error) or "cannot" in str(error)

    with caplog.at_level(logging.DEBUG):
        run(main())
    assert KEY not in caplog.text


# -- counters ----------------------------------------------------------------------------------------------------------


def test_counters_count_exactly_and_for_the_parent_too() -> None:
    async def main() -> None:
        async with serving() as (standin, transport):
            standin.faults += [
                Fault(TooMany(1)),
                Fault(Respond(500, {}, b"0123456789")),
                Fault(HTML),
                Fault(Respond(302, {"Location": FEATURE_PATH}), match="/old"),
            ]
            own = transport.with_own_counters()
            await own.send(feature_request(standin.api_url))
            await own.send(feature_request(standin.api_url, "/old"))
            assert own.counters.requests == len(standin.requests) == 6
            assert own.counters.retries == 3
            assert own.counters.rate_limited == 1
            assert own.counters.bytes_received == standin.bytes_sent
            await transport.send(feature_request(standin.api_url))
            assert (own.counters.requests, transport.counters.requests) == (6, 7)
            assert transport.counters.bytes_received == standin.bytes_sent

    run(main())


def test_nothing_unexpected_is_swallowed() -> None:
    class Bad:
        async def feed(self, data: bytes) -> None:
            raise KeyError("a bug in a sink")

        async def finish(self) -> None: ...

    async def main() -> None:
        async with serving() as (standin, transport):
            with pytest.raises(KeyError):
                await transport.send(Request(f"{standin.api_url}{FEATURE_PATH}", lambda _etag: Bad()))
            assert transport.counters.requests == 1

    run(main())


def all_classes(root: type[SaefetchError]) -> Iterable[type[SaefetchError]]:
    yield root
    for child in root.__subclasses__():
        yield from all_classes(child)


def test_every_request_error_is_provoked_here() -> None:
    provoked = {error_class for _, error_class, _ in API_FAULTS + EXPORT_FAULTS} | {UnreachableError, TooLargeError}
    assert provoked == {*all_classes(RequestError), RefusedError} - {RequestError}
