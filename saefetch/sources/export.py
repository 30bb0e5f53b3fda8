"""The public bulk export: gzipped JSON lines in a bucket, features in one folder, explanations in another.

    v1/{model}/{source}/features/batch-{n}.jsonl.gz        pos_str, neg_str, maxActApprox, ...
    v1/{model}/{source}/explanations/batch-{n}.jsonl.gz    description, typeName, explanationModelName, embedding, ...

A chunk is an object. Only the listing says which there are: the two folders are cut differently, and rows are sorted as
text. An object is unpacked and parsed as it arrives (see `unpack.py`), and what the parser skips is never held.
The bucket may change while we read: an object that is gone, or has another ETag than listed, marks the plan as stale,
and the crawl asks for a new one.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from saefetch.decode import Rows
from saefetch.errors import NotFoundError, RequestError
from saefetch.names.identity import Target
from saefetch.net.transport import Request, Transport
from saefetch.objects import MAX_OBJECT, Spec
from saefetch.sources.breaker import Breaker
from saefetch.sources.listing import list_batches
from saefetch.sources.unpack import BLOCK_SIZE, Reader, Unpacker
from saefetch.store.store import Answers, ExportObject, Store

FOLDERS = ("features", "explanations")


class ExportSource:
    """Read an SAE's objects of the bulk export; `n_features` bounds the indices taken."""

    def __init__(
        self,
        target: Target,
        n_features: int,
        *,
        transport: Transport,
        store: Store,
        unpacker: Unpacker,
        export_url: str,
    ) -> None:
        self._n_features = n_features
        self._transport, self._store, self._unpacker = transport, store, unpacker
        self._url = export_url
        self._source_id = target.source_id
        self._prefix = f"v1/{target.neuronpedia_id}/"
        self.listed: list[ExportObject] = []
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
        known = self._store.etags()
        new = [o for o in self.listed if not o.etag or known.get(o.key) != o.etag]
        return sorted(new, key=lambda o: (-o.size, o.key))

    async def fetch(self, chunk: ExportObject, answers: Answers) -> None:
        folder = chunk.key[len(self._prefix) :].split("/")[0]
        spec = Spec(f"GET {chunk.key}", folder, self._source_id, self._n_features)
        served_etag = ""
        reader: Reader | None = None

        def sink(etag: str) -> _Blocks:
            nonlocal served_etag, reader
            if reader is not None:  # of an attempt that failed
                reader.close()
            served_etag, reader = etag, self._unpacker.open(spec)
            return _Blocks(reader)

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
        finally:
            if reader is not None:
                reader.close()
        self._breaker.success()
        if served_etag and chunk.etag and served_etag != chunk.etag:
            self.stale = True
        answers.rows = rows
        answers.export_object = replace(chunk, etag=served_etag or chunk.etag)


class _Blocks:
    """Sink for one object: collects what arrives into blocks that are worth a reader's while."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._arrived: list[bytes] = []
        self._n_bytes = 0

    async def feed(self, data: bytes) -> None:
        self._arrived.append(data)
        self._n_bytes += len(data)
        if self._n_bytes >= BLOCK_SIZE:
            await self._reader.feed(self._take())

    async def finish(self) -> Rows:
        return await self._reader.finish(self._take())

    def _take(self) -> bytes:
        block = b"".join(self._arrived)
        self._arrived, self._n_bytes = [], 0
        return block
