"""What a request gives, checked against the table before anything is done with it."""

from __future__ import annotations

import asyncio
import re
from functools import cache
from typing import Any

import orjson
from aiohttp import web

from saefetch.service.http.problems import Problem
from saefetch.service.http.table import Parameter, Route

Given = dict[str, Any]
BODY_S = 20.0
"""How long a body may take to arrive."""
MAX_BODY = 64 << 10
MAX_MIRROR_BODY = 1 << 20
"""A list of 2,000 features, the most that `saefetch download` asks for at once, is a fifth of this."""
JSON_TYPE = "application/json"
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")


def parameters_of(request: web.Request, route: Route) -> Given:
    """Return the values by name: None, or the default, where one is not given.

    Raises: Problem, 404 for what cannot be in a path, 422 for what cannot be in a query.
    """
    given: Given = {}
    strict = route.area == "v1"
    if strict:
        _refuse_unknown(request, route)
    for parameter in route.parameters:
        match parameter.place:
            case "path":
                found: list[str] = [request.match_info[parameter.name]]
            case "query":
                found = request.query.getall(parameter.name, [])
            case "header":
                found = request.headers.getall(parameter.name, [])
        if len(found) > 1 and strict:
            raise _wrong(parameter, "expected once")
        if found:
            given[parameter.name] = _value(parameter, found[0])
        elif parameter.required:
            raise _wrong(parameter, "expected, but not there")
        else:
            given[parameter.name] = parameter.default
    return given


def _refuse_unknown(request: web.Request, route: Route) -> None:
    known = {parameter.name for parameter in route.parameters if parameter.place == "query"}
    for name in request.query:
        if name not in known:
            there = f"there are {', '.join(sorted(known))}" if known else "there are none here"
            raise Problem(422, f"unknown parameter {name[:100]!r}; {there}", parameter=name[:100])


def _value(parameter: Parameter, text: str) -> Any:
    if parameter.kind == "number":
        number = int(text) if _NUMBER.fullmatch(text) else -1
        if not parameter.least <= number <= parameter.most:
            bounds = f"from {parameter.least} to {parameter.most}"
            raise _wrong(parameter, f"{text[:100]!r}: expected a whole number {bounds}")
        return number
    if not _compiled(parameter.pattern).fullmatch(text):
        raise _wrong(parameter, f"{text[:100]!r}: expected {_expected(parameter)}")
    return text


def _expected(parameter: Parameter) -> str:
    alternatives = parameter.pattern.split("|")
    if len(alternatives) > 1 and all(word.isalpha() for word in alternatives):
        return f"one of {', '.join(alternatives)}"
    return "letters, digits and . _ - + = , @ ~" if "@" in parameter.pattern else "a name without control characters"


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.DOTALL)


def _wrong(parameter: Parameter, words: str) -> Problem:
    status = 404 if parameter.place == "path" else 422
    return Problem(status, f"{parameter.name}: {words}", parameter=parameter.name)


async def json_of(request: web.Request, *, max_bytes: int, any_type: bool, body_s: float) -> Any:
    """Read and parse the body; None where it is empty.

    Raises: Problem, 415 for what is not JSON by its header or its content, 413, 408.
    """
    # Not by `request.content_type`: Python's parser of that header fails on some that make no sense.
    media = request.headers.get("Content-Type", "").partition(";")[0].strip(" \t").lower()
    if not any_type and media != JSON_TYPE:
        raise Problem(415, f"expected a body of Content-Type {JSON_TYPE}", {"Accept": JSON_TYPE})
    if request.headers.get("Content-Encoding", "identity") not in ("", "identity"):  # a small one may unpack to much
        raise Problem(415, "expected a body without a Content-Encoding", {"Accept-Encoding": "identity"})
    body = await _read(request, max_bytes, body_s)
    if not body.strip():
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise Problem(415, f"the body is not JSON: {exc.msg}", {"Accept": JSON_TYPE}) from exc


async def _read(request: web.Request, max_bytes: int, body_s: float) -> bytes:
    too_large = Problem(413, f"the body is over {max_bytes >> 10:,} kB")
    if (request.content_length or 0) > max_bytes:
        raise too_large
    pieces: list[bytes] = []
    n_bytes = 0
    try:
        async with asyncio.timeout(body_s):
            async for piece in request.content.iter_any():
                n_bytes += len(piece)
                if n_bytes > max_bytes:
                    raise too_large
                pieces.append(piece)
    except TimeoutError as exc:
        raise Problem(408, f"the body did not arrive within {body_s:g} s") from exc
    except web.RequestPayloadError as exc:
        raise Problem(400, "the body was cut off") from exc
    return b"".join(pieces)
