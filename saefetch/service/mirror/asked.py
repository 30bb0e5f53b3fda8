"""The body of `POST /api/features`, checked as Neuronpedia checks it and with its words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from saefetch.decode import canonical_index
from saefetch.service.http.problems import Problem

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
    return element["modelId"], element["layer"], canonical_index(_whole(at, element["index"]))


def _whole(at: int, index: Any) -> int:
    try:
        number = float(index) if isinstance(index, int | float | str) and not isinstance(index, bool) else None
    except (ValueError, OverflowError):
        number = None
    if number is None:
        raise _refused(f"[{at}].index must be a number")
    if not number.is_integer():
        raise _refused(f"[{at}].index must be an integer")
    return int(number)


def _refused(words: str) -> Problem:
    return Problem(400, words, error=words)
