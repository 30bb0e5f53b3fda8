"""What several commands need of their flags."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson

from saefetch.errors import UsageError
from saefetch.identity import DEFAULT_RELEASE, Target, resolve
from saefetch.settings import Settings, load_settings


def print_json(document: Any) -> None:
    """Print the one JSON object that a command with --json puts on stdout."""
    print(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode(), flush=True)


def targets_of(settings: Settings, flags: dict[str, Any]) -> list[Target]:
    """Say which SAEs are meant.

    Flags count together: a release without an id, or a Neuronpedia id without both, must not be completed with the
    default SAE's names.
    """
    release, sae_id = flags.get("sae_release"), flags.get("sae_id")
    if release is None and sae_id is None:
        defaults = {name: Settings.model_fields[name].default for name in ("sae_release", "sae_id")}
        unchanged = settings.sae_release == defaults["sae_release"] and settings.sae_id == defaults["sae_id"]
        if settings.neuronpedia_id is None or not unchanged:
            release, sae_id = settings.sae_release, settings.sae_id
    elif release is None:
        release = settings.sae_release
    return resolve(release, sae_id, settings.neuronpedia_id, settings.num_features)


def parse_scope(features: str | None) -> range | None:
    """Parse `--features A:B`; either end may be left out."""
    if features is None:
        return None
    match = re.fullmatch(r"(\d{0,9}):(\d{0,9})", features)
    if match is None:
        raise UsageError(f"--features {features[:100]!r}: expected A:B, two feature numbers, such as 0:1000")
    start, stop = int(match[1] or 0), int(match[2] or 10**9)
    if start >= stop:
        raise UsageError(f"--features {features}: holds no feature; A must be less than B")
    return range(start, stop)


def one_sae(
    sae_release: str | None, sae_id: str | None, data_dir: Path | None, config: Path | None
) -> tuple[Path, str, str]:
    """Return the data folder, release and id that a reading command means."""
    settings = load_settings({"sae_release": sae_release, "sae_id": sae_id, "data_dir": data_dir}, config)
    if sae_release is not None and sae_id is None and sae_release != DEFAULT_RELEASE:
        raise UsageError(f"--sae-release {sae_release} needs --sae-id; `saefetch status` shows what is here")
    return settings.data_dir, settings.sae_release, settings.sae_id
