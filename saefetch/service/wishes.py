"""The body of `POST /v1/jobs` becomes wishes: which SAEs, from where. The server is not asked here."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from saefetch.downloading.order import targets_of
from saefetch.errors import UsageError
from saefetch.service.rows import Wish
from saefetch.settings import Settings, SourceName

KEYS: dict[str, type] = {
    "sae_release": str,
    "sae_id": str,
    "neuronpedia_id": str,
    "num_features": int,
    "source": str,
    "refresh": bool,
}
SOURCES: tuple[str, ...] = get_args(SourceName)
_NOUNS = {str: "a string", int: "a whole number", bool: "true or false"}


def wishes_of(body: object, settings: Settings) -> list[Wish]:
    """Return a wish for each SAE that the body means: several where `sae_id` is a pattern. {} means the default SAE.

    Raises: UsageError that names the key.
    """
    given = _checked(body)
    refresh = given.pop("refresh", False)
    source = given.pop("source", settings.source)
    if source not in SOURCES:
        raise UsageError(f"source {source[:100]!r}: expected one of {', '.join(SOURCES)}")
    targets, _ = targets_of(settings.model_copy(update=given), given)
    looks = "all" if refresh else "missing"
    return [
        Wish(t.folder(Path()).as_posix(), t.release, t.sae_id, t.neuronpedia_id, t.d_sae, source, looks)
        for t in targets
    ]


def _checked(body: object) -> dict[str, Any]:
    if not isinstance(body, Mapping):
        raise UsageError(f"expected a JSON object with the keys {', '.join(KEYS)}, not {type(body).__name__}")
    given = {}
    for key, value in body.items():
        if key not in KEYS:
            nearest = difflib.get_close_matches(key, KEYS, n=1, cutoff=0)
            raise UsageError(f"unknown key {key[:100]!r}; the closest known one is {nearest[0]!r}")
        if value is None:
            continue
        if type(value) is not KEYS[key]:
            raise UsageError(f"{key} {str(value)[:100]!r}: expected {_NOUNS[KEYS[key]]}")
        given[key] = value
    return given
