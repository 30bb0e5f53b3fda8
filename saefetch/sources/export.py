"""The public bulk export: gzipped JSON lines in a bucket, features in one folder, explanations in another.

    v1/{model}/{source}/features/batch-{n}.jsonl.gz        pos_str, neg_str, maxActApprox, ...
    v1/{model}/{source}/explanations/batch-{n}.jsonl.gz    description, typeName, explanationModelName, embedding, ...

A chunk is an object. Only the listing says which there are: the two folders are cut differently, and rows are sorted as
text. An object is unpacked and parsed as it arrives, in a thread, and what the parser skips is never held.
The bucket may change while we read: an object that is gone, or has another ETag than listed, marks the plan as stale,
and the crawl asks for a new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from dataclasses import replace
from typing import TypeVar

from saefetch.decode import Rows
from saefetch.errors import NotFoundError, RequestError
from saefetch.net.request import Request
from saefetch.net.transport import Transport
from saefetch.objects import MAX_OBJECT, ObjectReader, Spec
from saefetch.sources import Plan
from saefetch.sources.breaker import Breaker
from saefetch.sources.listing import find_holes, list_batches
from saefetch.store.answers import Answers, ExportObject
from saefetch.store.store import Store

FOLDERS = ("features", "explanations")
BLOCK_SIZE = 1 << 17
"""Compressed bytes that are unpacked in one go."""
N_THREADS = 2
T = TypeVar("T")


class ExportSource:
    """Read the plan's objects of the bulk export. `threads` is where they are unpacked and parsed."""

    def __init__(self, plan: Plan, *, transport: Transport, store: Store, threads: Executor, export_url: str) -> None:
        self._d_sae = plan.d_sae
        self._transport, self._store, self._threads = transport, store, threads
        self._url = export_url
        self._source_id = plan.target.source_id
        self._prefix = f"v1/{plan.target.neuronpedia_id}/"
        self.listed: list[ExportObject] = []
        self.holes: list[str] = []
        self.stale = False
        self.failures: list[RequestError] = []
        self._breaker = Breaker()

    async def plan(self) -> list[ExportObject]:
        """List both folders; return the objects that are new or have changed, the largest first."""
        self.stale = False
        self.failures = []
        max_bytes = self._transport.limits.max_response_bytes
        listings = await asyncio.gather(
            *(list_batches(self._transport, self._url, f"{self._prefix}{folder}/", max_bytes) for folder in FOLDERS)
        )
        self.listed = [export_object for listing in listings for export_object in listing]
        self.holes = [hole for listing in listings for hole in find_holes(listing)]
        known = self._store.etags()
        new = [o for o in self.listed if not o.etag or known.get(o.key) != o.etag]
        return sorted(new, key=lambda o: (-o.size, o.key))

    async def fetch(self, chunk: ExportObject) -> AsyncIterator[Answers]:
        folder = chunk.key[len(self._prefix) :].split("/")[0]
        spec = Spec(f"GET {chunk.key}", folder, self._source_id, self._d_sae)
        served_etag = ""

        def sink(etag: str) -> _Blocks:
            nonlocal served_etag
            served_etag = etag
            return _Blocks(ObjectReader(spec), self._threads)

        try:
            rows = await self._transport.send(Request(f"{self._url}/{chunk.key}", sink, max_bytes=MAX_OBJECT))
        except NotFoundError:
            self.stale = True
            return
        except RequestError as exc:
            if exc.stop:
                raise
            self.failures.append(exc)
            self._breaker.failure(exc)
            return
        self._breaker.success()
        if served_etag and chunk.etag and served_etag != chunk.etag:
            self.stale = True
        yield Answers(rows, export_object=replace(chunk, etag=served_etag or chunk.etag))


class _Blocks:
    """Sink for one object: collects pieces into blocks that are large enough to be handed to another thread."""

    def __init__(self, reader: ObjectReader, threads: Executor) -> None:
        self._reader, self._threads = reader, threads
        self._arrived: list[bytes] = []
        self._n_bytes = 0

    async def feed(self, data: bytes) -> None:
        self._arrived.append(data)
        self._n_bytes += len(data)
        if self._n_bytes >= BLOCK_SIZE:
            await self._in_thread(self._reader.feed, self._take())

    async def finish(self) -> Rows:
        await self._in_thread(self._reader.feed, self._take())
        return await self._in_thread(self._reader.finish)

    async def _in_thread(self, work: Callable[..., T], *args: bytes) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)

    def _take(self) -> bytes:
        block = b"".join(self._arrived)
        self._arrived, self._n_bytes = [], 0
        return block
