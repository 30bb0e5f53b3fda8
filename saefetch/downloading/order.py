"""Words become an order: which SAEs, which of their features, with what settings. The server is not asked here."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saefetch.errors import UsageError
from saefetch.names import registry
from saefetch.names.identity import DEFAULT_RELEASE, DEFAULT_SAE_ID, Target, resolve
from saefetch.settings import Settings, load_settings

API_KEY = "NEURONPEDIA_API_KEY"


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be downloaded, and how. `many`: a pattern named the targets, which may be any number of them."""

    targets: list[Target]
    many: bool
    settings: Settings
    scope: range | None
    refresh: bool
    api_key: str | None


def take_order(
    given: dict[str, Any], *, features: str | range | None, refresh: bool, config: Path | None = None
) -> Order:
    """Check everything that can be checked without the server. A value None in `given` stands for "not given".

    Raises: UsageError that names what is wrong.
    """
    for name in given:
        if name not in Settings.model_fields:
            nearest = difflib.get_close_matches(name, Settings.model_fields, n=1, cutoff=0)
            raise UsageError(f"unknown setting {name!r}; the closest known one is {nearest[0]!r}")
    settings = load_settings(given, config)
    targets, many = targets_of(settings, given)
    return Order(targets, many, settings, parse_scope(features, targets), refresh, api_key())


def targets_of(settings: Settings, given: dict[str, Any]) -> tuple[list[Target], bool]:
    """Say which SAEs are meant, and whether a pattern said so, which may mean any number of them.

    Flags count together: a release without an id, or a Neuronpedia id without both, must not be completed with the
    default SAE's names.
    """
    release, sae_id = given.get("sae_release"), given.get("sae_id")
    if release is None and sae_id is None:
        default = (settings.sae_release, settings.sae_id) == (DEFAULT_RELEASE, DEFAULT_SAE_ID)
        if settings.neuronpedia_id is None or not (default or given.get("neuronpedia_id")):
            release, sae_id = settings.sae_release, settings.sae_id
    elif release is None and settings.neuronpedia_id is None:
        release = settings.sae_release
    targets = resolve(release, sae_id, settings.neuronpedia_id, settings.num_features)
    return targets, sae_id is not None and registry.is_pattern(sae_id)


def parse_scope(features: str | range | None, targets: list[Target]) -> range | None:
    """Parse `--features A:B`; either end may be left out."""
    if features is None:
        return None
    if isinstance(features, range):
        if features.step != 1 or features.start < 0:
            raise UsageError(f"features {features!r}: expected a range from 0 on with step 1")
        features = f"{features.start}:{features.stop}"
    match = re.fullmatch(r"([0-9]{0,9}):([0-9]{0,9})", features)
    if match is None:
        raise UsageError(f"--features {features[:100]!r}: expected A:B, two feature numbers, such as 0:1000")
    start, stop = int(match[1] or 0), int(match[2] or 10**9)
    if start >= stop:
        raise UsageError(f"--features {features!r}: holds no feature; A must be less than B")
    widest = max(target.d_sae or 10**9 for target in targets)
    if start >= widest:
        raise UsageError(f"--features {features!r}: there are features 0 to {widest - 1:,} only")
    return range(start, stop)


def api_key() -> str | None:
    key = os.environ.get(API_KEY, "").strip()
    if not key.isascii() or not key.isprintable():
        raise UsageError(f"{API_KEY}: holds characters that no key has; copy it again, or unset it")
    return key or None
