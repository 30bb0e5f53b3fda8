"""The SAE that a caller means: one that is loaded, a path, or (release, id)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from encoder.errors import InputError
from encoder.options import Options
from encoder.sae.sae import LoadedSae

NAMES = ("sae_release", "sae_id", "sae_path")

SaeLike = LoadedSae | str | Path | tuple[str, str] | dict[str, Any]
"""A dict is a ticket's `sae`, as the command line makes it."""


def name_of(sae: SaeLike) -> dict[str, Any]:
    """Return a ticket's `sae`. Raises: InputError if this names no SAE."""
    if isinstance(sae, LoadedSae):
        name = {name: sae.identity.get(name) for name in NAMES}
        return name | ({"fold_decoder_norm": True} if sae.is_folded else {})
    if isinstance(sae, dict):
        return dict(sae)
    if isinstance(sae, str | Path):
        return dict(Options().name_sae(None, None, Path(sae)))
    if isinstance(sae, tuple | list) and len(sae) == 2 and all(isinstance(name, str) and name for name in sae):
        return dict(Options().name_sae(sae[0], sae[1], None))
    raise InputError(f"sae is {type(sae).__name__}: expected a loaded SAE, a path or (release, id)")


def folded(sae: SaeLike) -> SaeLike:
    """Return the SAE with values in Neuronpedia's scale."""
    return sae.fold_decoder_norm() if isinstance(sae, LoadedSae) else name_of(sae) | {"fold_decoder_norm": True}


def loaded(sae: SaeLike) -> LoadedSae:
    """Load the SAE, unless it is loaded already. Raises: InputError."""
    if isinstance(sae, LoadedSae):
        return sae
    name = name_of(sae)
    from encoder.sae.load import load_named  # takes SAELens along, in seconds

    return load_named(name)
