"""What several commands need of their flags."""

from __future__ import annotations

from pathlib import Path

from saefetch.errors import UsageError
from saefetch.names.identity import DEFAULT_RELEASE, DEFAULT_SAE_ID
from saefetch.settings import load_settings


def one_sae(
    sae_release: str | None, sae_id: str | None, data_dir: Path | None, config: Path | None
) -> tuple[Path, str, str]:
    """Return the data folder, release and id that a reading command means."""
    defaults = load_settings({"data_dir": data_dir}, config)
    release = defaults.sae_release if sae_release is None else sae_release
    if sae_id is None:
        known = {DEFAULT_RELEASE: DEFAULT_SAE_ID, defaults.sae_release: defaults.sae_id}
        if release not in known:
            raise UsageError(f"--sae-release {release} needs --sae-id; `saefetch status` shows what is here")
        sae_id = known[release]
    return defaults.data_dir, release, sae_id
