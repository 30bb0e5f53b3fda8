"""How many features an SAE has, where nobody here knows: ask the export's `source.jsonl`, then the API.

Where several SAEs of one source set are asked for, as all layers of a model are, `/api/source-set` tells all at once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from saefetch.decode import repair
from saefetch.errors import NotFoundError, RefusedError, RequestError, UsageError
from saefetch.names.identity import MAX_FEATURES, Target
from saefetch.net.body import Whole
from saefetch.net.request import Request
from saefetch.net.transport import Transport


class Widths:
    """The widths that the server is asked for, in one run or in the service's life."""

    def __init__(self, *, api_url: str, export_url: str) -> None:
        self._api_url, self._export_url = api_url, export_url
        self._large_sets: set[str] = set()
        self._told: dict[str, dict[str, int]] = {}
        self._asking = asyncio.Lock()

    def expect(self, targets: Sequence[Target]) -> None:
        """Hear which SAEs are asked for together: of a set with two of unknown width, all are asked for at once."""
        unknown = Counter(_set_of(target) for target in targets if not target.d_sae)
        self._large_sets |= {name for name, n in unknown.items() if n > 1}

    async def ask(self, transport: Transport, target: Target) -> int:
        """Return the SAE's `d_sae`.

        Raises: RefusedError if the server does not know the SAE; UsageError if it does not say; RequestError if it
        fails.
        """
        name = _set_of(target)
        if name in self._large_sets:
            async with self._asking:
                if name not in self._told:
                    self._told[name] = await self._ask_set(transport, name)
            if target.source_id in self._told[name]:
                return self._told[name][target.source_id]
        return await self._ask_one(transport, target)

    async def _ask_set(self, transport: Transport, name: str) -> dict[str, int]:
        url = f"{self._api_url}/api/source-set/{name}"
        max_bytes = transport.limits.max_response_bytes
        with suppress(RequestError, RefusedError):  # no such set: then each SAE is asked for by itself
            return await transport.send(
                Request(url, lambda _etag: Whole(f"GET {url}", max_bytes, find_widths), with_key=True)
            )
        return {}

    async def _ask_one(self, transport: Transport, target: Target) -> int:
        name, max_bytes = target.neuronpedia_id, transport.limits.max_response_bytes
        width = None
        with suppress(RequestError, RefusedError):  # no export, or none of this SAE: the API has the last word
            width = await transport.send(_request(f"{self._export_url}/v1/{name}/source.jsonl", max_bytes))
        if width is None:
            try:
                width = await transport.send(
                    _request(f"{self._api_url}/api/feature/{name}/0", max_bytes, with_key=True)
                )
            except NotFoundError as exc:
                raise RefusedError(
                    f"Neuronpedia does not know {name}; if it does, give --num-features N ({exc})"
                ) from exc
        if width is None:
            raise UsageError(f"Neuronpedia does not say how many features {name} has; give --num-features N")
        return width


def _set_of(target: Target) -> str:
    """Return `model/set`: the set is the source id after its first `-`."""
    return f"{target.model_id}/{target.source_id.partition('-')[2]}"


def _request(url: str, max_bytes: int, *, with_key: bool = False) -> Request[int | None]:
    return Request(url, lambda _etag: Whole(f"GET {url}", max_bytes, find_width), with_key=with_key)


def find_width(body: bytes) -> int | None:
    """Find `saelensConfig.d_sae` in a feature or in the first line of a `source.jsonl`; it may be JSON in a string."""
    return _width_in(repair(body.split(b"\n{")[0] if body.startswith(b"{") else body))


def _width_in(document: Any) -> int | None:
    for key in ("source", "saelensConfig"):
        if isinstance(document, dict) and key in document:
            document = document[key]
            if isinstance(document, str):
                document = repair(document.encode())
    width: Any = document.get("d_sae") if isinstance(document, dict) else None
    return width if type(width) is int and 0 < width <= MAX_FEATURES else None


def find_widths(body: bytes) -> dict[str, int]:
    """Find each source's `saelensConfig.d_sae` in the answer for a source set, by source id."""
    document: Any = repair(body)
    sources = document.get("sources") if isinstance(document, dict) else None
    found = {}
    for source in sources if isinstance(sources, list) else ():
        if isinstance(source, dict) and isinstance(source.get("id"), str):
            width = _width_in(source)
            if width is not None:
                found[source["id"]] = width
    return found
