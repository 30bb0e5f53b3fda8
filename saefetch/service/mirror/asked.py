"""The body of `POST /api/features`, checked as Neuronpedia checks it and with its words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from saefetch.decode import canonical_index
from saefetch.service.http.problems import Problem

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
Asked = tuple[str, str, int | None]
"""Model, source and index; None for an index that no feature has."""


def features_asked(body: Any) -> Iterable[Asked]:
    """Return the features, each once. Raises: Problem."""
    if not isinstance(body, list) or not body:
        raise _refused("this must be an array of at least one feature")
    return dict.fromkeys(_checked(at, element) for at, element in enumerate(body))


def _checked(at: int, element: Any) -> Asked:
    if not isinstance(element, dict):
        raise _refused(f"[{at}] must be an object")
    for name in ("modelId", "layer", "index"):
        if element.get(name) is None:
            raise _refused(f"[{at}].{name} is a required field")
    for name in ("modelId", "layer"):
        if not isinstance(element[name], str):
            raise _refused(f"[{at}].{name} must be a string")
    return element["modelId"], element["layer"], canonical_index(_digits(at, element["index"]))


def _digits(at: int, index: Any) -> str:
    """Return an index, which may also be a number in a string or one with a fraction of zero, as its digits."""
    if type(index) is int:
        return str(index)
    if type(index) is float or (isinstance(index, str) and _NUMBER.fullmatch(index.strip())):
        number = float(index)
        if number.is_integer():
            return f"{number:.0f}"
        raise _refused(f"[{at}].index must be an integer")
    raise _refused(f"[{at}].index must be a number")


def _refused(words: str) -> Problem:
    return Problem(400, words, error=words)
