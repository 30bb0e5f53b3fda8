"""The SAE that a caller means: one that is loaded, a path, or (release, id). Loading takes a second and comes late."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from encoder.errors import InputError
from encoder.options import Options
from encoder.sae.known import recall
from encoder.work.warm import warming

if TYPE_CHECKING:
    from encoder.sae.sae import LoadedSae

NAMES = ("sae_release", "sae_id", "sae_path")

SaeLike: TypeAlias = Union["LoadedSae", str, Path, tuple[str, str], dict[str, Any]]
"""A dict is a ticket's `sae`, as the command line makes it."""


def name_of(sae: SaeLike) -> dict[str, Any]:
    """Return a ticket's `sae`. Raises: InputError if this names no SAE."""
    if isinstance(sae, dict):
        return dict(sae)
    if isinstance(sae, str | Path):
        return dict(Options().name_sae(None, None, Path(sae)))
    if isinstance(sae, tuple | list) and len(sae) == 2 and all(isinstance(name, str) and name for name in sae):
        return dict(Options().name_sae(sae[0], sae[1], None))
    if (given := in_hand(sae)) is None:
        raise InputError(f"sae is {type(sae).__name__}: expected a loaded SAE, a path or (release, id)")
    name = {name: given.identity.get(name) for name in NAMES}
    return name | ({"fold_decoder_norm": True} if given.is_folded else {})


def in_hand(sae: SaeLike) -> LoadedSae | None:
    """Return the SAE if it is loaded already; None if it is a name."""
    if isinstance(sae, dict | str | Path | tuple | list):
        return None
    from encoder.sae.sae import LoadedSae  # takes torch along, which has been imported if this is one

    return sae if isinstance(sae, LoadedSae) else None


def folded(sae: SaeLike) -> SaeLike:
    """Return the SAE with values in Neuronpedia's scale."""
    given = in_hand(sae)
    return name_of(sae) | {"fold_decoder_norm": True} if given is None else given.fold_decoder_norm()


def loaded(sae: SaeLike) -> LoadedSae:
    """Load the SAE, unless it is loaded already. Raises: InputError."""
    given = in_hand(sae)
    if given is not None:
        return given
    name = name_of(sae)
    from encoder.sae.load import load_named  # takes torch along, in a second

    return load_named(name)


class Wanted:
    """The SAE that a run is for: its identity at once where it is known, and its weights when they are needed.

    `say` hears why what was known of the SAE does not count any more.
    """

    def __init__(self, sae: SaeLike, say: Callable[[str], object]) -> None:
        self._sae, self._say = sae, say
        self._loaded = in_hand(sae)
        self._known: str | None = None

    @property
    def weights_sha256(self) -> str:
        """What the features come from; the SAE is loaded for it where that is not known. Raises: InputError."""
        if self._loaded is not None:
            return str(self._loaded.identity["weights_sha256"])
        if self._known is None:
            recalled = recall(name_of(self._sae))
            if recalled.known is None:
                if recalled.changed is not None:
                    self._say(f"note: {recalled.changed}")
                return self.load().identity["weights_sha256"] or ""
            self._known = recalled.known.weights_sha256
        return self._known

    def load(self) -> LoadedSae:
        """Return the SAE with its weights. Raises: InputError."""
        if self._loaded is None:
            import encoder.sae.load  # noqa: F401 - takes torch along, before two threads do

            with warming():
                self._loaded = loaded(self._sae)
        return self._loaded
