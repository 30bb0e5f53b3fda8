"""A view's answer as JSON bytes: numpy arrays as lists, NaN as null, text that is not valid Unicode made readable."""

from __future__ import annotations

from typing import Any

import orjson

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


def dumps(answer: Any) -> bytes:
    try:
        return orjson.dumps(answer, option=_OPTIONS)
    except TypeError:  # a lone surrogate in a token or in a file's name, or a number of more than 64 bits in a `meta`
        return orjson.dumps(_mended(answer), option=_OPTIONS)


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        return float(value) if abs(value) < 1 << 1000 else None
    if isinstance(value, dict):
        return {_mended(key): _mended(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mended(item) for item in value]
    return value
