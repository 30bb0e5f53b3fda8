"""JSON as it is sent: numpy arrays as they are, NaN as null, and text that is no Unicode made readable."""

from __future__ import annotations

from typing import Any

import orjson

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


def dumps(document: Any) -> bytes:
    try:
        return orjson.dumps(document, option=_OPTIONS)
    except TypeError:  # a lone surrogate in a token or a file's name, or a number of more than 64 bits in some meta
        return orjson.dumps(_mended(document), option=_OPTIONS)


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        return float(value) if abs(value) < 1 << 1000 else None
    if isinstance(value, dict):
        return {_mended(key): _mended(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_mended(one) for one in value]
    return value
