"""The SAEs that a caller means: one that is loaded, a path, or (release, id); a pattern or a list for several.

Of several SAEs each has a folder for its results, `<release>/<id with / as _>` as the labels have. An SAE that is named
by its path has `local/<end of the path>-<digest of the path>`: the folder is found by its name, stays the same whatever
SAEs are named beside it, and differs for the params.npz of two folders.
"""

from __future__ import annotations

import hashlib
import re
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from encoder.errors import InputError
from encoder.options import Options
from encoder.stores.object_path import path_of
from saefetch.names.registry import is_pattern
from saefetch.names.registry.everything import everything

if TYPE_CHECKING:
    from encoder.sae.sae import LoadedSae

NAMES = ("sae_release", "sae_id", "sae_path")
LOCAL = "local"
"""The folder for results of SAEs that have no release."""
N_PARTS = 3
"""Parts of a path that its folder's name is made of."""
MAX_CHARACTERS = 100

SaeLike: TypeAlias = Union["LoadedSae", str, Path, tuple[str, str], dict[str, Any]]
"""A dict is a ticket's `sae`, as the command line makes it."""
SaesLike: TypeAlias = SaeLike | list[SaeLike]
"""A pattern in the place of an id means several SAEs, and so does a list."""


def name_of(sae: SaeLike) -> dict[str, Any]:
    """Return a ticket's `sae` of one SAE, or of a pattern. Raises: InputError if this names no SAE."""
    if isinstance(sae, dict):
        return dict(sae)
    if isinstance(sae, str | Path):
        return dict(Options().name_sae(None, None, path_of(sae)))
    if isinstance(sae, tuple) and len(sae) == 2 and all(isinstance(name, str) and name for name in sae):
        return dict(Options().name_sae(sae[0], sae[1], None))
    if (given := in_hand(sae)) is None:
        raise InputError(f"sae is {type(sae).__name__}: expected a loaded SAE, a path or (release, id)")
    name = {name: given.identity.get(name) for name in NAMES}
    return name | ({"fold_decoder_norm": True} if given.is_folded else {})


def names_of(saes: SaesLike) -> dict[str, Any]:
    """Return a ticket's `sae`: of one SAE, or {"saes": [...]} of a list or a pattern, each with its folder.

    Raises: InputError if there is no such SAE, or one is named twice.
    """
    if not isinstance(saes, list):
        name = name_of(saes)
        if "saes" in name or not is_pattern(str(name.get("sae_id"))):
            return name
        saes = [saes]
    if not saes:
        raise InputError("sae is an empty list: name at least one SAE")
    found: dict[str, dict[str, Any]] = {}
    for sae in saes:
        for name in _each(name_of(sae)):
            folder = _folder_of(name, sae)
            if folder in found:
                raise InputError(f"{_shown(name)} is named twice; its results have one folder only, {folder}")
            found[folder] = {"folder": folder, **name}
    return {"saes": list(found.values())}


def loaded_in(saes: SaesLike) -> dict[str, LoadedSae]:
    """Return those that are loaded already, by the folders that `names_of` gives them; the only one by ""."""
    if not isinstance(saes, list):
        given = in_hand(saes)
        return {} if given is None else {"": given}
    ready = [one for sae in saes if (one := in_hand(sae)) is not None]
    return {_folder_of(name_of(one), one): one for one in ready}


def in_hand(sae: SaeLike) -> LoadedSae | None:
    """Return the SAE if it is loaded already; None if it is a name."""
    if isinstance(sae, dict | str | Path | tuple | list):
        return None
    from encoder.sae.sae import LoadedSae  # takes torch along, which has been imported if this is one

    return sae if isinstance(sae, LoadedSae) else None


def folded(saes: SaesLike) -> SaesLike:
    """Return the SAEs with values in Neuronpedia's scale."""
    if isinstance(saes, list):
        return [_folded(sae) for sae in saes]
    return _folded(saes)


def _folded(sae: SaeLike) -> SaeLike:
    given = in_hand(sae)
    return name_of(sae) | {"fold_decoder_norm": True} if given is None else given.fold_decoder_norm()


def loaded(sae: SaeLike) -> LoadedSae:
    """Load the SAE, unless it is loaded already. Raises: InputError."""
    given = in_hand(sae)
    if given is not None:
        return given
    name = name_of(sae)
    if is_pattern(str(name.get("sae_id"))):
        raise InputError(f"sae_id {name['sae_id']!r} is a pattern for several SAEs: name one here")
    from encoder.sae.load import load_named  # takes torch along, in a second

    return load_named(name)


def _each(name: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the names of the SAEs that a pattern means, in natural order; of no pattern the name itself.

    In a pattern * also stands for what has a slash in it, as it does for labels.
    """
    if not is_pattern(str(name.get("sae_id"))):
        return [name]
    release, pattern = str(name["sae_release"]), str(name["sae_id"])
    ids = [sae.sae_id for sae in everything() if sae.release == release]
    if not ids:
        hint = "a pattern is for releases of SAELens' registry; `saefetch list --all` shows them"
        raise InputError(f"--sae-release {release}: SAELens knows no such release; {hint}")
    found = [sae_id for sae_id in ids if fnmatchcase(sae_id, pattern)]
    if not found:
        shown = ", ".join(ids[:3]) + (f" and {len(ids) - 3:,} more" if len(ids) > 3 else "")
        raise InputError(f"--sae-id {pattern}: no SAE of the release {release} fits; it has {shown}")
    return [name | {"sae_id": sae_id} for sae_id in found]


def _folder_of(name: dict[str, Any], sae: SaeLike) -> str:
    release, sae_id, path = (name.get(key) for key in NAMES)
    if release and sae_id:
        return f"{_plain(release)}/{_plain(sae_id)}"
    if path:
        parts = [part for part in PurePath(path).with_suffix("").parts if part != "/"]
        digest = hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).hexdigest()[:8]
        return f"{LOCAL}/{_plain('_'.join(parts[-N_PARTS:]))}-{digest}"
    given = in_hand(sae)
    if given is None:
        raise InputError("name the SAE by --sae-release R --sae-id ID, or by --sae-path PATH")
    return f"{LOCAL}/unnamed-{str(given.identity.get('weights_sha256'))[:8]}"


def _plain(name: str) -> str:
    """Return a name that can be a folder's; names of the registry and usual paths keep all but their slashes."""
    return re.sub(r"[^\w.+=,@~-]", "_", name).lstrip(".")[-MAX_CHARACTERS:].lstrip(".") or "_"


def _shown(name: dict[str, Any]) -> str:
    return str(name.get("sae_path") or f"{name.get('sae_release')} {name.get('sae_id')}")
