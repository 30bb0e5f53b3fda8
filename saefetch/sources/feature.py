"""GET /api/feature/{model}/{source}/{index}: one feature a request, the classic crawl, in checkpointed chunks."""

from __future__ import annotations

from collections.abc import Sequence

from saefetch.decode import Decoder, FeatureJson, canonical_index
from saefetch.names.identity import Target
from saefetch.net.body import Whole
from saefetch.net.request import Request
from saefetch.sources.api import Found

_FEATURE = Decoder(FeatureJson)


class OneByOne:
    """One feature a request. What does not exist is a 404."""

    n_at_once = 1
    chunk_size = 32
    not_found_is_missing = True

    def __init__(self, target: Target, api_url: str, max_bytes: int) -> None:
        self._source_id, self._max_bytes = target.source_id, max_bytes
        self._url = f"{api_url}/api/feature/{target.neuronpedia_id}"

    def request(self, indices: Sequence[int]) -> Request[Found]:
        (index,) = indices
        url = f"{self._url}/{index}"

        def decode(body: bytes) -> Found:
            feature, repaired = _FEATURE.document(body)
            if canonical_index(feature.index) != index or feature.layer not in (None, self._source_id):
                raise ValueError(f"another feature: {feature.layer} {feature.index}")
            return [feature], repaired

        return Request(
            url,
            lambda _etag: Whole(f"GET {url}", self._max_bytes, decode),
            content_types=("application/json",),
            divisible=True,
            with_key=True,
        )
