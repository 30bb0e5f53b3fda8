"""Which SAEs there are in the folders that the command was told, and where the features of each are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dashboard.errors import DashboardError
from dashboard.model.data import Data, Settings
from dashboard.model.tokens import Vocabulary
from encoder.errors import EncoderError
from encoder.file.sae_folders import sae_folders
from encoder.index.format import NAME, place_of


def features_of(features: Path, index: Path | None, named: tuple[str, str] | None) -> tuple[Path, Path | None]:
    """Return the folder of the features to show, and the file of their index where it lies elsewhere.

    Of a folder with the features of several SAEs it is that of the SAE that was named. Raises: DashboardError.
    """
    try:
        several = sae_folders(features) if features.is_dir() else {}
        of_sae, of_index = place_of(features, index, named if several else None)
    except (EncoderError, OSError) as exc:
        hint = "; --sae-release R --sae-id ID names one, or --features its folder"
        raise DashboardError(str(exc).replace(" with sae=", "") + hint) from exc
    return of_sae, of_index if index is not None else None


def saes_in(folders: list[Path]) -> dict[str, Path]:
    """Return the features of every SAE in the folders, by a name for each, which is that of its folder."""
    found: dict[str, Path] = {}
    for folder in folders:
        try:
            several = sae_folders(folder) if folder.is_dir() else {}
        except OSError:  # whoever opens it says why
            several = {}
        for name, path in (several or {folder.name: folder}).items():
            n = sum(other == name or other.startswith(f"{name} (") for other in found)
            found[f"{name} ({n + 1})" if n else name] = path
    return found


def data_of(settings: Settings, folders: list[Path], index: Path | None, vocabulary: Vocabulary) -> Data:
    """Return the data to show at first, which knows those of every other SAE.

    It is the SAE that was named, else the first. `index` is what `--index` says. Raises: DashboardError.
    """
    found = saes_in(folders)
    first = next(iter(found))
    if settings.named and len(found) > 1:
        of_named, _ = features_of(folders[0], None, settings.named)
        first = next((name for name, path in found.items() if path == of_named), first)
    names = tuple(sorted(found, key=lambda name: name != first))
    all_data: dict[str, Data] = {}
    for name in names:
        path, named = found[name], settings.named if name == first or len(found) == 1 else None
        below = path.relative_to(folders[0]) if path.is_relative_to(folders[0]) else None
        of_index = index and below is not None and index / below / NAME
        own = replace(settings, features=path, index=of_index or None, named=named, sae=name, saes=names)
        all_data[name] = Data(own, vocabulary, siblings=all_data)
    return all_data[first]
