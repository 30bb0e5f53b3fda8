"""How many features an SAE has, where nobody here knows: ask the export's `source.jsonl`, then the API."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from saefetch.decode import repair
from saefetch.errors import NotFoundError, RefusedError, RequestError, UsageError
from saefetch.names.identity import MAX_FEATURES, Target
from saefetch.net.body import Whole
from saefetch.net.request import Request
from saefetch.net.transport import Transport


async def ask_width(transport: Transport, target: Target, *, api_url: str, export_url: str) -> int:
    """Return the SAE's `d_sae`.

    Raises: RefusedError if the server does not know the SAE; UsageError if it does not say; RequestError if it fails.
    """
    name, max_bytes = target.neuronpedia_id, transport.limits.max_response_bytes
    width = None
    with suppress(RequestError, RefusedError):  # no export, or none of this SAE: the API has the last word
        width = await transport.send(_request(f"{export_url}/v1/{name}/source.jsonl", max_bytes))
    if width is None:
        try:
            width = await transport.send(_request(f"{api_url}/api/feature/{name}/0", max_bytes, with_key=True))
        except NotFoundError as exc:
            raise RefusedError(f"Neuronpedia does not know {name}; if it does, give --num-features N ({exc})") from exc
    if width is None:
        raise UsageError(f"Neuronpedia does not say how many features {name} has; give --num-features N")
    return width


def _request(url: str, max_bytes: int, *, with_key: bool = False) -> Request[int | None]:
    return Request(url, lambda _etag: Whole(f"GET {url}", max_bytes, find_width), with_key=with_key)


def find_width(body: bytes) -> int | None:
    """Find `saelensConfig.d_sae` in a feature or in the first line of a `source.jsonl`; it may be JSON in a string."""
    document: Any = repair(body.split(b"\n{")[0] if body.startswith(b"{") else body)
    for key in ("source", "saelensConfig"):
        if isinstance(document, dict) and key in document:
            document = document[key]
            if isinstance(document, str):
                document = repair(document.encode())
    width: Any = document.get("d_sae") if isinstance(document, dict) else None
    return width if type(width) is int and 0 < width <= MAX_FEATURES else None
