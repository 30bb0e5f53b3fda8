"""Neuronpedia's API, without the network: a request in, the answer of the real route handlers out.

Every status, header and message here is one of the recorded answers; what was not recorded is a guess, and says so.
"""

import math
import zlib
from collections.abc import Collection, Mapping
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import orjson

from standin.payload import Payload
from standin.records import source_set, source_set_answer
from standin.wire import Record, Reply
from standin.world import Feature, Source, World

_NOT_AVAILABLE: Final = (
    "The model, source, or feature you specified is not available. Check available public models/sources "
    "(including which ones have inference enabled) at https://www.neuronpedia.org/available-resources"
)
_OUR_END: Final = "Something went wrong on our end. The error has been reported."
_EXPORT_GONE: Final = {
    "newUrl": "https://neuronpedia-datasets.s3.us-east-1.amazonaws.com/index.html?prefix=v1/",
    "message": "This endpoint has been removed. Explanations exports can be downloaded more quickly and efficiently at "
    "https://neuronpedia-datasets.s3.us-east-1.amazonaws.com/index.html?prefix=v1/  "
    "Please contact support@neuronpedia.org if you have any questions.",
}
_HEADERS: Final = {
    "access-control-allow-headers": "Content-Type",
    "access-control-allow-methods": "GET, POST",
    "access-control-allow-origin": "*",
    "vary": "rsc, next-router-state-tree, next-router-prefetch, next-router-segment-prefetch",
}
_PAGE: Final = (
    b'<!DOCTYPE html><html lang="en"><head><meta charSet="utf-8"/><title>Neuronpedia</title></head>'
    b"<body><main>404: This page could not be found.</main></body></html>"
)

FeatureKey = tuple[str, str, int]


class Api:
    """Answers requests to the API's origin. Features in `nan_features` have NaN in the database."""

    def __init__(self, world: World, payload: Payload, nan_features: Collection[FeatureKey]) -> None:
        self._world = world
        self._payload = payload
        self._nan_features = nan_features

    def answer(self, record: Record) -> Reply:
        """Answer one request."""
        path = urlsplit(record.path).path
        if path != "/" and path.endswith("/"):
            target = record.path.replace(path, path.rstrip("/"), 1)
            return Reply(308, {"location": target, "Refresh": f"0;url={target}"}, target.encode())
        match path.split("/")[1:]:
            case ["api", "feature", model, source, index]:
                return self._feature(unquote(model), unquote(source), unquote(index)) if _get(record) else _refused()
            case ["api", "features"]:
                return self._features(record) if record.method == "POST" else _refused()
            case ["api", "source-set", model, name]:
                return self._source_set(unquote(model), unquote(name)) if _get(record) else _refused()
            case ["api", "explanation", "export"]:
                return _json(400, _EXPORT_GONE) if _get(record) else _refused()
        return Reply(200, {**_HEADERS, "Content-Type": "text/html; charset=utf-8"}, _PAGE)

    def _feature(self, model_id: str, source_id: str, index: str) -> Reply:
        if not self._world.has_model(model_id):
            return _json(404, {"error": _NOT_AVAILABLE, "message": _NOT_AVAILABLE})
        source = self._world.source(model_id, source_id)
        # The index is text in the database: 007 is not 7.
        number = int(index) if index.isascii() and index.isdecimal() and str(int(index)) == index else -1
        feature = self._world.feature(model_id, source_id, number)
        if source is None or feature is None:
            return not_available()
        if self._is_broken(source, feature):
            return _json(500, {"error": _OUR_END, "message": _OUR_END})
        return Reply(200, {**_HEADERS, "content-type": "application/json"}, self._payload.single(source, feature))

    def _source_set(self, model_id: str, name: str) -> Reply:
        sources = [s for s in self._world.sources if s.model_id == model_id and source_set(s) == name]
        return _json(200, source_set_answer(sources)) if sources else not_available()

    def _features(self, record: Record) -> Reply:
        try:
            asked = orjson.loads(record.body)
        except orjson.JSONDecodeError:
            return _json(500, {"error": _OUR_END, "message": _OUR_END})
        if not isinstance(asked, list):
            return _json(400, {"message": "this must be an array"})  # a guess
        complaint = next(filter(None, (_complaint(at, element) for at, element in enumerate(asked))), None)
        if complaint:
            return _json(400, {"message": complaint})
        found: dict[FeatureKey, tuple[Source, Feature]] = {}
        for element in asked:
            key = (str(element["modelId"]), str(element["layer"]), int(element["index"]))
            source, feature = self._world.source(*key[:2]), self._world.feature(*key)
            if source and feature:
                found[key] = source, feature
        if not asked or any(self._is_broken(*pair) for pair in found.values()):
            return _json(500, {"message": "Unknown Error"})
        # Only the first element's limit counts, and 0 is no limit.
        max_acts = int(asked[0].get("maxActsToReturn") or 0) or None
        order = sorted(found, key=lambda key: zlib.crc32(f"{key}".encode()))
        body = b",".join(self._payload.batch(*found[key], max_acts) for key in order)
        return Reply(200, {**_HEADERS, "content-type": "application/json"}, b"[%b]" % body)

    def _is_broken(self, source: Source, feature: Feature) -> bool:
        if feature.max_act_approx is not None and not math.isfinite(feature.max_act_approx):
            return True
        return (source.model_id, source.source_id, feature.index) in self._nan_features


def not_available() -> Reply:
    """Return what the API says of a feature that is not there."""
    return _json(404, {"error": _NOT_AVAILABLE})


def database_down(record: Record) -> Reply:
    """Return what each route says while the database is down: a 500, as for a poisoned row."""
    if record.method == "POST":
        return _json(500, {"message": "Unknown Error"})
    return _json(500, {"error": _OUR_END, "message": _OUR_END})


def too_many(limit: int, retry_after: float | str | None = None) -> Reply:
    """Return the limiter's refusal; only an edge in front of the app would add Retry-After."""
    error = (
        f"Rate limit exceeded for this endpoint. The limit for this endpoint (/) is {limit} requests per 60 m. "
        "Contact contact@example.org to increase your rate limit."
    )
    said = {"endpoint": "/", "limitPerWindow": limit, "requestWindow": "60 m", "remainingRequests": 0, "error": error}
    headers = {"content-type": "application/json", "Vary": "Accept-Encoding"}
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    return Reply(429, headers, orjson.dumps(said))


def _get(record: Record) -> bool:
    return record.method == "GET"


def _refused() -> Reply:
    return Reply(405, _HEADERS)


def _json(status: int, said: Mapping[str, Any]) -> Reply:
    return Reply(status, {**_HEADERS, "content-type": "application/json"}, orjson.dumps(said))


def _complaint(at: int, element: Any) -> str | None:
    """Return what the schema has against an element; the two recorded messages, the rest by analogy."""
    if not isinstance(element, dict):
        return f"[{at}] must be an object"
    for name in ("modelId", "layer", "index"):
        if element.get(name) is None:
            return f"[{at}].{name} is a required field"
    index = element["index"]
    try:
        whole = float(index).is_integer()
    except (TypeError, ValueError):
        return f"[{at}].index must be a number"
    return None if whole else f"[{at}].index must be an integer"
