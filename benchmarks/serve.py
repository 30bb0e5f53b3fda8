"""Benchmark the mirror: `python -m benchmarks.serve [--quick] [--requests N]`, or `make bench`.

    feature   GET /api/feature/... of 16,384 features in turn, by 50 connections that each wait for their answer
    bare      the same load on an aiohttp server that answers with the same bytes and does nothing else: the ratio says
              what the guard, the lookup and the rendering cost
    features  POST /api/features, 100 features a request, by 8 connections
    beside    GET /api/feature/... again, with 200 idle streams of events and a download that writes to another store

The server is a process of its own, and the load generator another: two cores are shared by the two. Memory is the
server's, at the end of each tenth of the requests.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import psutil
from aiohttp import web

from benchmarks.report import Aim, describe_machine, head, promises, publish
from saefetch.decode import Rows
from saefetch.names.identity import DEFAULT_RELEASE, DEFAULT_SAE_ID, sae_folder
from saefetch.store.answers import Answers
from saefetch.store.store import Store

NEURONPEDIA_ID = "gemma-2-2b/16-gemmascope-res-16k"
N_FEATURES = 16_384
N_CONNECTIONS, N_BATCH, N_STREAMS = 50, 100, 200
RATE_AIM, P99_AIM_MS, GROWTH_AIM_MB = 3000, 50, 8
LIBRARIES = ("aiohttp", "orjson", "saefetch")
AT = "2026-12-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Row:
    """One load: answers a second, times of an answer in ms, the server's memory in MB at the end and how it grew."""

    what: str
    n_requests: int
    per_second: float
    median_ms: float
    p99_ms: float
    slowest_ms: float
    server_cpu_us: float
    memory_mb: float
    growth_mb: float


class Client(asyncio.Protocol):
    """One connection that asks for one target after the other, each when the one before is answered."""

    def __init__(self, requests: Iterator[bytes], times: array[float], done: asyncio.Future[None]) -> None:
        self._requests, self._times, self._done = requests, times, done
        self._got = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._next()

    def _next(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._transport.close()
            if not self._done.done():
                self._done.set_result(None)
            return
        self._began = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._got += data
        head_end = self._got.find(b"\r\n\r\n")
        if head_end < 0:
            return
        at = self._got.find(b"Content-Length: ") + 16
        if len(self._got) < head_end + 4 + int(self._got[at : self._got.find(b"\r\n", at)]):
            return
        self._times.append(time.perf_counter() - self._began)
        if not self._got.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(bytes(self._got[:300]))
        self._got.clear()
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(exc or RuntimeError("the server closed a connection"))


def get(port: int, n: int) -> Iterator[bytes]:
    for number in range(n):
        path = f"/api/feature/{NEURONPEDIA_ID}/{number * 7919 % N_FEATURES}"
        yield f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX-Api-Key: none\r\n\r\n".encode()


def post(port: int, n: int) -> Iterator[bytes]:
    model, source = NEURONPEDIA_ID.split("/")
    for number in range(n):
        indices = range(number * N_BATCH % N_FEATURES, number * N_BATCH % N_FEATURES + N_BATCH)
        asked = [{"modelId": model, "layer": source, "index": i % N_FEATURES, "maxActsToReturn": 1} for i in indices]
        body = json.dumps(asked).encode()
        head = f"POST /api/features HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {len(body)}\r\n\r\n"
        yield head.encode() + body


async def load(what: str, server: Server, requests: Iterator[bytes], n: int, n_connections: int) -> Row:
    """Send the requests; the first hundredth of them is not counted."""
    loop = asyncio.get_running_loop()
    times: array[float] = array("d")
    memory = [server.memory_mb]

    async def wave(n_requests: int) -> None:
        part = (request for request, _ in zip(requests, range(n_requests), strict=False))
        ends = [loop.create_future() for _ in range(n_connections)]
        for end in ends:
            await loop.create_connection(lambda end=end: Client(part, times, end), "127.0.0.1", server.port)
        await asyncio.gather(*ends)

    await wave(n // 100 or 1)
    del times[:]
    memory[0] = server.memory_mb
    cpu_s, began = server.cpu_s, time.perf_counter()
    for _ in range(10):
        await wave(n // 10)
        memory.append(server.memory_mb)
    wall_s = time.perf_counter() - began
    in_order = sorted(times)
    return Row(
        what,
        len(times),
        len(times) / wall_s,
        1e3 * median(in_order),
        1e3 * in_order[int(0.99 * len(in_order))],
        1e3 * in_order[-1],
        1e6 * (server.cpu_s - cpu_s) / len(times),
        memory[-1],
        memory[-1] - memory[1],
    )


async def with_streams(server: Server) -> list[asyncio.StreamWriter]:
    """Open the idle streams of events."""
    writers = []
    for _ in range(N_STREAMS):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(f"GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode())
        await reader.readuntil(b"retry: 2000\n\n")
        writers.append(writer)
    return writers


class Server:
    """A server as a process of its own."""

    def __init__(self, pid: int, port: int) -> None:
        self.port, self._process = port, psutil.Process(pid)

    @property
    def memory_mb(self) -> float:
        return float(self._process.memory_info().rss / 1e6)

    @property
    def cpu_s(self) -> float:
        return float(sum(self._process.cpu_times()[:2]))


@contextmanager
def serving(which: str, folder: Path) -> Iterator[Server]:
    """Start `saefetch serve`, or the bare server; both say on stderr where they listen."""
    words = ["saefetch", "serve", "--port", "0", "--data-dir", folder / "sae"]
    if which == "bare":
        words = ["benchmarks.serve", "--bare"]
    process = subprocess.Popen([sys.executable, "-m", *map(str, words)], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        match = re.search(r"http://\S+:(\d+)", process.stderr.readline())
        assert match is not None
        yield Server(process.pid, int(match[1]))
    finally:
        process.terminate()
        process.communicate()


async def serve_bare() -> None:
    """Serve the same bytes to whoever asks, until the process is ended."""
    body = b"x" * 900

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.router.add_get("/api/feature/{model}/{source}/{index}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", file=sys.stderr, flush=True)
    await asyncio.Event().wait()


def write_labels(folder: Path) -> None:
    """Write a store of the default SAE, in the shape of the real labels."""
    tokens = json.dumps([f" token{i}" for i in range(10)]).encode()
    path = sae_folder(folder / "sae", DEFAULT_RELEASE, DEFAULT_SAE_ID)
    path.mkdir(parents=True)
    with closing(Store.open(path)) as store:
        names = {"release": DEFAULT_RELEASE, "sae_id": DEFAULT_SAE_ID, "neuronpedia_id": NEURONPEDIA_ID}
        store.set_meta(**names, num_features=N_FEATURES, source="auto")
        features = [(i, 1.5 + i % 80, i % 997 / 1e4, tokens, tokens) for i in range(N_FEATURES)]
        label = "references to legal proceedings and the words around them, kind"
        explanations = [(i, "oai_token-act-pair", "gpt-4o-mini", f"{label} {i}") for i in range(N_FEATURES)]
        store.commit(Answers(rows=Rows(features=features, explanations=explanations)), AT)
        store.settle()


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Commit to another store of the data dir for the block, in a process of its own, as a download does."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.serve", "--write", "--folder", str(folder)])
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def write_on(folder: Path) -> None:
    path = sae_folder(folder / "sae", DEFAULT_RELEASE, "another")
    path.mkdir(parents=True)
    with closing(Store.open(path)) as store:
        store.set_meta(release=DEFAULT_RELEASE, sae_id="another", neuronpedia_id="m/0-s", num_features=1 << 20)
        for start in range(0, 1 << 20, N_BATCH):
            rows = Rows(features=[(i, 1.0, 0.1, b"[]", b"[]") for i in range(start, start + N_BATCH)])
            store.commit(Answers(rows=rows), AT)
            time.sleep(0.1)


def measure(folder: Path, n: int) -> list[Row]:
    write_labels(folder)
    rows = []
    with serving("mirror", folder) as server:
        rows.append(asyncio.run(load("feature", server, get(server.port, 2 * n), n, N_CONNECTIONS)))
        rows.append(asyncio.run(load("features", server, post(server.port, n), max(200, n // 100), 8)))

        async def beside() -> Row:
            writers = await with_streams(server)
            row = await load("beside", server, get(server.port, 2 * n), n // 4, N_CONNECTIONS)
            for writer in writers:
                writer.close()
            return row

        with writing(folder):
            rows.append(asyncio.run(beside()))
    with serving("bare", folder) as server:
        rows.append(asyncio.run(load("bare", server, get(server.port, 2 * n), n // 4, N_CONNECTIONS)))
    return rows


def aims_of(rows: list[Row]) -> list[Aim]:
    feature, features, beside, bare = rows
    growth = feature.growth_mb
    share = feature.per_second / bare.per_second
    batch = features.per_second * N_BATCH
    return [
        Aim(
            "feature: requests a second",
            f">= {RATE_AIM:,}",
            f"{feature.per_second:,.0f}, {share:.2f} of bare aiohttp's",
            feature.per_second >= RATE_AIM,
        ),
        Aim("feature: p99", f"< {P99_AIM_MS} ms", f"{feature.p99_ms:.1f} ms", feature.p99_ms < P99_AIM_MS),
        Aim(
            f"feature: memory flat over {feature.n_requests:,} requests",
            f"< {GROWTH_AIM_MB} MB after the first tenth",
            f"{growth:+.1f} MB",
            growth < GROWTH_AIM_MB,
        ),
        Aim("features: features a second by POST", ">= those by GET", f"{batch:,.0f}", batch >= feature.per_second),
        Aim(
            f"feature, beside {N_STREAMS} idle streams and a download: p99",
            f"< {P99_AIM_MS} ms",
            f"{beside.p99_ms:.1f} ms at {beside.per_second:,.0f} a second",
            beside.p99_ms < P99_AIM_MS,
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fiftieth of the requests; writes no results")
    parser.add_argument("--requests", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.bare:
        asyncio.run(serve_bare())
        return
    if args.write:
        write_on(args.folder)
        return
    n = args.requests // 50 if args.quick else args.requests
    with tempfile.TemporaryDirectory(prefix="saefetch-bench-") as scratch:
        rows = measure(Path(scratch), n)
    aims = aims_of(rows)
    machine = describe_machine("serve", LIBRARIES)
    lines = head("The service's mirror", machine)
    lines += ["", "| load | requests | a second | median ms | p99 ms | slowest ms | server CPU µs | MB | growth MB |"]
    lines += ["|---|" + "---:|" * 8]
    for row in rows:
        times = " | ".join(f"{ms:,.1f}" for ms in (row.median_ms, row.p99_ms, row.slowest_ms))
        memory = f"{row.memory_mb:,.0f} | {row.growth_mb:+.1f}"
        rate = f"{row.n_requests:,} | {row.per_second:,.0f}"
        lines.append(f"| {row.what} | {rate} | {times} | {row.server_cpu_us:,.0f} | {memory} |")
    lines += ["", *promises(aims)]
    document = {"rows": [asdict(row) for row in rows], "aims": [asdict(one) for one in aims]}
    publish("serve", machine, document, lines, quick=args.quick)


if __name__ == "__main__":
    main()
