"""How many features an SAE has, where nobody here knows: ask the export's `source.jsonl`, then the API."""

from __future__ import annotations

from typing import Any

from saefetch.body import Whole
from saefetch.decode import repair
from saefetch.errors import RefusedError, RequestError, UsageError
from saefetch.identity import MAX_FEATURES, Target
from saefetch.transport import Request, Transport


async def ask_width(transport: Transport, target: Target, *, api_url: str, export_url: str) -> int:
    """Return the SAE's `d_sae`.

    Raises: UsageError if the server does not say; RequestError if neither place can be asked.
    """
    urls = f"{export_url}/v1/{target.neuronpedia_id}/source.jsonl", f"{api_url}/api/feature/{target.neuronpedia_id}/0"
    problem: RequestError | RefusedError | None = None
    for url in urls:
        try:
            width = await transport.send(_request(url, transport.limits.max_response_bytes))
        except (RequestError, RefusedError) as exc:
            problem = exc
        else:
            if width is not None:
                return width
    if isinstance(problem, RequestError) and problem.stop:
        raise problem
    raise UsageError(
        f"nobody says how many features {target.neuronpedia_id} has"
        + (f" ({problem})" if problem else "")
        + "; give --num-features N"
    )


def _request(url: str, max_bytes: int) -> Request[int | None]:
    return Request(url, lambda _etag: Whole(f"GET {url}", max_bytes, find_width))


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
