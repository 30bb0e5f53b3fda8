"""POST /api/features: many features a request.

The size adapts. A batch that fails for its size or its time, or because one bad feature poisons it, is halved until the
culprit is alone; only then is it worth repeating. Where size or time was to blame, later batches are smaller, and grow
again after a run of successes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from saefetch.decode import Decoder, FeatureJson, canonical_index
from saefetch.errors import NotFoundError, RequestError, RequestRejectedError, ServerError
from saefetch.net.body import Whole
from saefetch.net.request import Request
from saefetch.net.transport import Transport
from saefetch.sources import Plan
from saefetch.sources.api import Chunk, KnownSae, any_exists, chunks_of, spread, take_feature
from saefetch.sources.breaker import Breaker
from saefetch.store.answers import Answers
from saefetch.store.store import Store

GROW_AFTER = 10
_BATCH = Decoder(list[FeatureJson])


class BatchSource:
    """Ask for the features of the plan that the store lacks, at most `batch_size` a request."""

    def __init__(self, plan: Plan, *, transport: Transport, store: Store, api_url: str, batch_size: int) -> None:
        self._plan, self._target = plan, plan.target
        self._transport, self._store = transport, store
        self._url = f"{api_url}/api/features"
        self._batch_size = self._size = batch_size
        self._successes = 0
        self._breaker = Breaker()
        self._known = KnownSae(plan, some_exist=self._some_exist)

    async def plan(self) -> list[Chunk]:
        return chunks_of(self._store, self._plan, self._batch_size)

    async def fetch(self, chunk: Chunk) -> AsyncIterator[Answers]:
        waiting = [list(chunk)]
        while waiting:
            indices = waiting.pop()
            if len(indices) > self._size:
                waiting += [indices[self._size :], indices[: self._size]]
                continue
            try:
                answers = await self._ask(indices)
            except RequestError as exc:
                if exc.stop or isinstance(exc, NotFoundError):
                    raise
                if len(indices) == 1:
                    yield Answers(failed=[(indices[0], str(exc))])
                    self._breaker.failure(exc)
                else:
                    middle = (len(indices) + 1) // 2
                    waiting += [indices[middle:], indices[:middle]]
                    self._shrink(exc, middle)
            else:
                self._breaker.success()
                yield answers

    async def _ask(self, indices: Sequence[int]) -> Answers:
        found, repaired = await self._transport.send(self._request(indices))
        answers = Answers()
        answers.rows.repaired += repaired
        missing = set(indices)
        for feature in found:
            index = canonical_index(feature.index)
            if index in missing and feature.layer in (None, self._target.source_id):
                missing.remove(index)
                take_feature(answers, feature, index)
            else:
                answers.rows.ignored += 1
        if len(missing) < len(indices):
            self._known.confirm()
        elif missing:
            await self._known.check()
        answers.missing += sorted(missing)
        self._grow(len(indices))
        return answers

    async def _some_exist(self) -> bool:
        return await any_exists([spread(self._plan.d_sae, self._size)], self._exists)

    async def _exists(self, indices: list[int]) -> bool:
        found, _ = await self._transport.send(self._request(indices))
        return any(feature.layer in (None, self._target.source_id) for feature in found)

    def _request(self, indices: Sequence[int]) -> Request[tuple[list[FeatureJson], bool]]:
        model_id, source_id = self._target.model_id, self._target.source_id
        return Request(
            self._url,
            lambda _etag: Whole(f"POST {self._url}", self._transport.limits.max_response_bytes, _BATCH.document),
            json=[{"modelId": model_id, "layer": source_id, "index": i, "maxActsToReturn": 1} for i in indices],
            content_types=("application/json",),
            divisible=len(indices) > 1,
            with_key=True,
        )

    def _shrink(self, exc: RequestError, middle: int) -> None:
        """Send smaller batches from now on if it was the size; a plain 500 is more likely one bad feature's."""
        self._successes = 0
        poisoned = isinstance(exc, RequestRejectedError) or (isinstance(exc, ServerError) and exc.status == 500)
        if not poisoned:
            self._size = min(self._size, middle)

    def _grow(self, n: int) -> None:
        if self._size < self._batch_size and n >= self._size:
            self._successes += 1
            if self._successes >= GROW_AFTER:
                self._successes = 0
                self._size = min(self._batch_size, 2 * self._size)
