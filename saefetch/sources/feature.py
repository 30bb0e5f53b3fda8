"""GET /api/feature/{model}/{source}/{index}: one feature a request, the classic crawl, in checkpointed chunks."""

from __future__ import annotations

from collections.abc import AsyncIterator

from saefetch.decode import Decoder, FeatureJson, canonical_index
from saefetch.errors import NotFoundError, RequestError
from saefetch.net.body import Whole
from saefetch.net.request import Request
from saefetch.net.transport import Transport
from saefetch.sources import Plan
from saefetch.sources.api import Chunk, KnownSae, any_exists, chunks_of, spread, take_feature
from saefetch.sources.breaker import Breaker
from saefetch.store.answers import Answers
from saefetch.store.store import Store

CHUNK_SIZE = 32
N_PROBES = 16
_FEATURE = Decoder(FeatureJson)


class FeatureSource:
    """Ask for the features of the plan that the store lacks, one by one."""

    def __init__(self, plan: Plan, *, transport: Transport, store: Store, api_url: str) -> None:
        self._plan, self._target = plan, plan.target
        self._transport, self._store = transport, store
        self._url = f"{api_url}/api/feature/{plan.target.neuronpedia_id}"
        self._known = KnownSae(plan, some_exist=self._some_exist)
        self._breaker = Breaker()

    async def plan(self) -> list[Chunk]:
        return chunks_of(self._store, self._plan, CHUNK_SIZE)

    async def fetch(self, chunk: Chunk) -> AsyncIterator[Answers]:
        for index in chunk:
            try:
                answers = await self._ask(index)
            except RequestError as exc:
                if exc.stop:
                    raise
                yield Answers(failed=[(index, str(exc))])
                self._breaker.failure(exc)
                continue
            self._breaker.success()
            if answers.missing:
                await self._known.check()
            else:
                self._known.confirm()
            yield answers

    async def _ask(self, index: int) -> Answers:
        answers = Answers()
        try:
            feature, repaired = await self._transport.send(self._request(index))
        except NotFoundError:
            answers.missing.append(index)
        else:
            answers.rows.repaired += repaired
            take_feature(answers, feature, index)
        return answers

    async def _some_exist(self) -> bool:
        return await any_exists([[index] for index in reversed(spread(self._plan.d_sae, N_PROBES))], self._exists)

    async def _exists(self, indices: list[int]) -> bool:
        return not (await self._ask(indices[0])).missing

    def _request(self, index: int) -> Request[tuple[FeatureJson, bool]]:
        url = f"{self._url}/{index}"

        def decode(body: bytes) -> tuple[FeatureJson, bool]:
            feature, repaired = _FEATURE.document(body)
            if canonical_index(feature.index) != index or feature.layer not in (None, self._target.source_id):
                raise ValueError(f"another feature: {feature.layer} {feature.index}")
            return feature, repaired

        return Request(
            url,
            lambda _etag: Whole(f"GET {url}", self._transport.limits.max_response_bytes, decode),
            content_types=("application/json",),
            with_key=True,
        )
