"""A folder with the features of several SAEs, as `sae-encode run` with a pattern makes it; each SAE is found by name.

    <folder>/<release>/<id with / as _>/*.npz         an SAE of the registry, or of a repository
    <folder>/local/<end of its path>-<digest>/*.npz   an SAE that was named by its path

A folder that has features files itself is of one SAE.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from encoder.errors import EncoderError
from saefetch.names.registry.table import natural_key

MAX_NAMED = 30

SaeName = str | tuple[str, str]
"""An SAE as a caller names it: its folder, its id, a pattern or a part of these that fits only one; (release, id)."""


def sae_folders(folder: Path) -> dict[str, Path]:
    """Return the folders of the SAEs below, by "release/id" as they are called there, in natural order; none where it
    is of one SAE.

    Raises: OSError if the folder cannot be listed.
    """
    if folder.is_file() or _has_features(folder):
        return {}
    below = (inner for outer in _folders(folder) for inner in _folders(outer))
    return {f"{path.parent.name}/{path.name}": path for path in below if _has_features(path)}


def find_folder(folder: Path, sae: SaeName | None = None) -> Path:
    """Return the folder, or file, with the features of one SAE: `folder` itself, or that of the SAE below it.

    Raises: EncoderError if there are several and none is named, or there is none of that name, with those that there
    are.
    """
    try:
        below = sae_folders(folder)
    except OSError:
        return folder  # whoever opens it says why
    if not below:
        return folder
    if sae is None and len(below) == 1:
        return next(iter(below.values()))
    found = list(below) if sae is None else _matching(list(below), sae)
    if len(found) == 1:
        return below[found[0]]
    if sae is None:
        raise EncoderError(f"{folder}: has the features of {len(below):,} SAEs; name one with sae=: {_listed(found)}")
    if not found:
        raise EncoderError(f"{folder}: has no SAE {_shown(sae)}; it has {_listed(list(below))}")
    raise EncoderError(f"{folder}: several SAEs are called {_shown(sae)}; name one of {_listed(found)}")


def check_name(folder: Path, meta: Mapping[str, Any], sae: SaeName) -> None:
    """Raises: EncoderError if the features in `folder`, of which one file has this `meta`, are of another SAE."""
    release, sae_id, path = (str(meta.get(name) or "") for name in ("sae_release", "sae_id", "sae_path"))
    name = f"{_plain(release)}/{_plain(sae_id)}" if release else f"{folder.parent.name}/{_plain(path)}"
    called = [name, f"{folder.parent.name}/{folder.name}"]
    if not _matching(called, sae):
        own = f"{release} {sae_id}".strip() or path
        raise EncoderError(f"{folder}: has the features of {own}, not of {_shown(sae)}")


def _matching(names: list[str], sae: SaeName) -> list[str]:
    """Return the names that are meant: the one of exactly that name, else those that fit it as a pattern or a part."""
    if isinstance(sae, tuple):
        return [name for name in names if name == "/".join(map(_plain, sae))]
    exact = [name for name in names if sae in (name, name.partition("/")[2]) or name.partition("/")[2] == _plain(sae)]
    if len(exact) == 1:
        return exact
    forms = {name: (_plain(name), name.partition("/")[2]) for name in names}
    fitting = [name for name in names if any(fnmatchcase(form, _plain(sae)) for form in forms[name])]
    if fitting:
        return fitting
    part = re.compile(rf"(?<![A-Za-z0-9]){re.escape(_plain(sae))}(?![A-Za-z0-9])")
    return [name for name in names if part.search(_plain(name))]


def _plain(name: str) -> str:
    return name.replace("/", "_")


def _shown(sae: SaeName) -> str:
    return " ".join(sae) if isinstance(sae, tuple) else repr(sae)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMED:,} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more


def _folders(folder: Path) -> Iterator[Path]:
    found = (path for path in folder.iterdir() if path.name[0] != "." and path.is_dir())
    return iter(sorted(found, key=lambda path: natural_key(path.name)))


def _has_features(folder: Path) -> bool:
    return next(folder.glob("*.npz"), None) is not None
