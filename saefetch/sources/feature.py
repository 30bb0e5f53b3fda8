"""GET /api/feature/{model}/{source}/{index}: one feature a request, the classic crawl, in checkpointed chunks."""

from __future__ import annotations

from saefetch.decode import Decoder, FeatureJson, canonical_index
from saefetch.errors import NotFoundError, RequestError
from saefetch.names.identity import Target
from saefetch.net.body import Whole
from saefetch.net.transport import Request, Transport
from saefetch.sources.api import Chunk, KnownSae, any_exists, chunks_of, spread, take_feature
from saefetch.sources.breaker import Breaker
from saefetch.store.store import Answers, Store

CHUNK_SIZE = 32
N_PROBES = 16
_FEATURE = Decoder(FeatureJson)


class FeatureSource:
    """Ask for the features of `scope` that the store lacks, one by one."""

    def __init__(
        self,
        target: Target,
        n_features: int,
        scope: range,
        *,
        transport: Transport,
        store: Store,
        api_url: str,
        known: bool,
        api_only: bool,
        epoch: int,
    ) -> None:
        self._target, self._n_features, self._scope = target, n_features, scope
        self._transport, self._store = transport, store
        self._url = f"{api_url}/api/feature/{target.neuronpedia_id}"
        self._api_only, self._epoch = api_only, epoch
        self._known = KnownSae(target, known=known, some_exist=self._some_exist)
        self._breaker = Breaker()

    async def plan(self) -> list[Chunk]:
        states = self._store.states(self._n_features, api_only=self._api_only, epoch=self._epoch)
        return chunks_of(states, self._scope, CHUNK_SIZE)

    async def fetch(self, chunk: Chunk, answers: Answers) -> None:
        for index in chunk:
            try:
                feature = await self._ask(index, answers)
            except RequestError as exc:
                if exc.stop:
                    raise
                answers.failed.append((index, str(exc)))
                self._breaker.failure(exc)
                continue
            self._breaker.success()
            if feature is None:
                await self._known.check()
                answers.missing.append(index)
            else:
                self._known.confirm()
                take_feature(answers, feature, index)

    async def _ask(self, index: int, answers: Answers) -> FeatureJson | None:
        """Return the feature; None if there is none."""
        try:
            feature, repaired = await self._transport.send(self._request(index))
        except NotFoundError:
            return None
        answers.rows.repaired += repaired
        return feature

    async def _some_exist(self) -> bool:
        return await any_exists([[index] for index in reversed(spread(self._n_features, N_PROBES))], self._exists)

    async def _exists(self, indices: list[int]) -> bool:
        return await self._ask(indices[0], Answers()) is not None

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
