"""What several commands need of their flags."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from saefetch.errors import UsageError
from saefetch.names import registry
from saefetch.names.identity import DEFAULT_RELEASE, DEFAULT_SAE_ID, Target, resolve
from saefetch.settings import Settings, load_settings


def targets_of(settings: Settings, flags: dict[str, Any]) -> tuple[list[Target], bool]:
    """Say which SAEs are meant, and whether a pattern said so, which may mean any number of them.

    Flags count together: a release without an id, or a Neuronpedia id without both, must not be completed with the
    default SAE's names.
    """
    release, sae_id = flags.get("sae_release"), flags.get("sae_id")
    if release is None and sae_id is None:
        default = (settings.sae_release, settings.sae_id) == (DEFAULT_RELEASE, DEFAULT_SAE_ID)
        if settings.neuronpedia_id is None or not (default or flags.get("neuronpedia_id")):
            release, sae_id = settings.sae_release, settings.sae_id
    elif release is None and settings.neuronpedia_id is None:
        release = settings.sae_release
    targets = resolve(release, sae_id, settings.neuronpedia_id, settings.num_features)
    return targets, sae_id is not None and registry.is_pattern(sae_id)


def parse_scope(features: str | None, targets: list[Target]) -> range | None:
    """Parse `--features A:B`; either end may be left out."""
    if features is None:
        return None
    match = re.fullmatch(r"([0-9]{0,9}):([0-9]{0,9})", features)
    if match is None:
        raise UsageError(f"--features {features[:100]!r}: expected A:B, two feature numbers, such as 0:1000")
    start, stop = int(match[1] or 0), int(match[2] or 10**9)
    if start >= stop:
        raise UsageError(f"--features {features!r}: holds no feature; A must be less than B")
    widest = max(target.n_features or 10**9 for target in targets)
    if start >= widest:
        raise UsageError(f"--features {features!r}: there are features 0 to {widest - 1:,} only")
    return range(start, stop)


def one_sae(
    sae_release: str | None, sae_id: str | None, data_dir: Path | None, config: Path | None
) -> tuple[Path, str, str]:
    """Return the data folder, release and id that a reading command means."""
    defaults = load_settings({"data_dir": data_dir}, config)
    release = sae_release or defaults.sae_release
    if sae_id is None:
        known = {DEFAULT_RELEASE: DEFAULT_SAE_ID, defaults.sae_release: defaults.sae_id}
        if release not in known:
            raise UsageError(f"--sae-release {release} needs --sae-id; `saefetch status` shows what is here")
        sae_id = known[release]
    return defaults.data_dir, release, sae_id
