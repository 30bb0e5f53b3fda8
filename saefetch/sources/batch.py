"""POST /api/features: many features a request."""

from __future__ import annotations

from collections.abc import Sequence

from saefetch.decode import Decoder, FeatureJson
from saefetch.names.identity import Target
from saefetch.net.body import Whole
from saefetch.net.request import Request
from saefetch.sources.api import Found

_BATCH = Decoder(list[FeatureJson])


class InBatches:
    """At most `n_at_once` features a request, which is a chunk. What does not exist is left out of the answer."""

    not_found_is_missing = False

    def __init__(self, target: Target, api_url: str, n_at_once: int, max_bytes: int) -> None:
        self.n_at_once = self.chunk_size = n_at_once
        self._target, self._url, self._max_bytes = target, f"{api_url}/api/features", max_bytes

    def request(self, indices: Sequence[int]) -> Request[Found]:
        model_id, source_id = self._target.model_id, self._target.source_id
        return Request(
            self._url,
            lambda _etag: Whole(f"POST {self._url}", self._max_bytes, _BATCH.document),
            json=[{"modelId": model_id, "layer": source_id, "index": i, "maxActsToReturn": 1} for i in indices],
            content_types=("application/json",),
            divisible=True,
            with_key=True,
        )
