"""The public bulk export: gzipped JSON lines in a bucket, features in one folder, explanations in another.

    v1/{model}/{source}/features/batch-{n}.jsonl.gz        pos_str, neg_str, maxActApprox, ...
    v1/{model}/{source}/explanations/batch-{n}.jsonl.gz    description, typeName, explanationModelName, embedding, ...

A chunk is an object. Only the listing says which there are: the two folders are cut differently, and rows are sorted as
text. An object is unpacked and parsed as it arrives, in threads (the inflater lets go of the interpreter), and what the
parser skips is never held. The bucket may change while we read: an object that is gone, or has another ETag than
listed, marks the plan as stale, and the crawl asks for a new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TypeVar

from saefetch.body import Inflater
from saefetch.decode import Decoder, ExplanationJson, FeatureJson, Rows, add_explanation, add_feature, canonical_index
from saefetch.errors import BadAnswerError, NotFoundError, RequestError, TooLargeError
from saefetch.identity import Target
from saefetch.sources.breaker import Breaker
from saefetch.sources.listing import list_batches
from saefetch.store import Answers, ExportObject, Store
from saefetch.transport import Request, Transport

BLOCK = 1 << 18
"""Compressed bytes that are unpacked in one go in a thread."""
MAX_LINE = 1 << 24
MAX_OBJECT = 1 << 32
FOLDERS = ("features", "explanations")
RowT = TypeVar("RowT", FeatureJson, ExplanationJson)

_FEATURES = Decoder(FeatureJson)
_EXPLANATIONS = Decoder(ExplanationJson)


class ExportSource:
    """Read an SAE's objects of the bulk export; `n_features` bounds the indices taken."""

    def __init__(
        self,
        target: Target,
        n_features: int,
        *,
        transport: Transport,
        store: Store,
        threads: ThreadPoolExecutor,
        export_url: str,
    ) -> None:
        self._n_features = n_features
        self._transport, self._store, self._threads = transport, store, threads
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
        read = (
            partial(self._read, _FEATURES, add_feature)
            if folder == "features"
            else partial(self._read, _EXPLANATIONS, add_explanation)
        )
        served_etag = ""

        def sink(etag: str) -> _Lines:
            nonlocal served_etag
            served_etag = etag
            return _Lines(f"GET {chunk.key}", read, self._threads)

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
        answers.rows = rows
        answers.export_object = replace(chunk, etag=served_etag or chunk.etag)

    def _read(self, decoder: Decoder[RowT], add: Callable[[Rows, RowT, int], None], rows: Rows, block: bytes) -> None:
        """Decode whole lines and append to `rows` those that are rows of this SAE."""
        documents, repaired, lost = decoder.lines(block)
        rows.repaired += repaired
        rows.ignored += lost
        rows.lost += lost
        for document in documents:
            index = self._index(document)
            if index is None:
                rows.ignored += 1
            else:
                add(rows, document, index)

    def _index(self, row: FeatureJson | ExplanationJson) -> int | None:
        if row.layer is not None and row.layer != self._source_id:
            return None
        index = canonical_index(row.index)
        return index if index is not None and index < self._n_features else None


class _Lines:
    """Sink for one object: inflate, cut at line ends, hand whole lines to `read`.

    An object that is served with `Content-Encoding: gzip` was unpacked on the way and comes here as plain lines.
    """

    def __init__(self, what: str, read: Callable[[Rows, bytes], None], threads: ThreadPoolExecutor) -> None:
        self._what, self._read, self._threads = what, read, threads
        self._inflater = Inflater(what, MAX_OBJECT)
        self._arrived = bytearray()
        self._plain: bool | None = None
        self._tail = b""
        self._rows = Rows()

    async def feed(self, data: bytes) -> None:
        self._arrived += data
        if len(self._arrived) >= BLOCK:
            block, self._arrived = bytes(self._arrived), bytearray()
            await self._in_thread(self._unpack, block)

    async def finish(self) -> Rows:
        await self._in_thread(self._unpack_last, bytes(self._arrived))
        return self._rows

    async def _in_thread(self, work: Callable[[bytes], None], block: bytes) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, work, block)

    def _unpack_last(self, block: bytes) -> None:
        self._unpack(block)
        if not self._plain:
            self._inflater.finish()
        self._read(self._rows, self._tail)
        rows = self._rows
        if rows.lost and rows.lost == rows.ignored and not (rows.features or rows.explanations):
            raise BadAnswerError(f"{self._what}: none of its {rows.lost:,} lines is a row; this is not the export")

    def _unpack(self, block: bytes) -> None:
        if self._plain is None:
            self._plain = block.startswith(b"{")
        for piece in (block,) if self._plain else self._inflater.feed(block):
            text = self._tail + piece
            end = text.rfind(b"\n{") + 1  # not any newline: a raw one inside a string is no line's end
            if end:
                self._read(self._rows, text[:end])
            self._tail = text[end:]
            if len(self._tail) > MAX_LINE:
                raise TooLargeError(f"{self._what}: a line is longer than {MAX_LINE:,} bytes")
