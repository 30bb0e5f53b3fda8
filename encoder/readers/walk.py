"""From a file or folder to data files: folder formats list theirs, the rest is walked in natural order.

In a folder that a format owns (an Arrow dataset, a memmap store, saev, Language-Model-SAEs chunks, activault) exactly
its data files count. Hidden files and folders are passed over, and so are the formats' side files and what is written
for people. All else that is not read is reported: compressed and wrapped files, folders such as zarr's, files that an
index does not name.

One bad thing stops nothing else: a folder that cannot be listed, a missing file that an index names or the index itself
is listed with the data files, and opening it fails with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from encoder.errors import InputError
from encoder.readers import dictionary_learning, numpy_archive, numpy_header, torch_archive
from encoder.readers.registry import FOLDER_READERS
from encoder.readers.source import HEAD_BYTES

SUFFIXES = {".npy", ".npz", ".parquet", ".feather", ".safetensors", ".pt", ".pth", ".arrow", ".memmap"}
FOR_PEOPLE = {
    "", ".md", ".txt", ".rst", ".json", ".jsonl", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".log", ".lock", ".py",
    ".ipynb", ".sh", ".html", ".css", ".js", ".pdf", ".png", ".jpg", ".jpeg", ".svg", ".gif", ".md5", ".sha256",
}  # fmt: skip
"""Endings of files that hold no activations. A file without an ending counts as one only under a name in capitals."""
SIDE_FILES = re.compile(r"(labels\.bin|(mean|std|tokens|sequence_ranges)\.pt|(cache-|indices).*\.arrow|.*\.meta)")
"""What the formats that own folders write beside their data files."""
FOLDER_FORMATS = {".zarr": ("zarr.json", ".zarray", ".zgroup"), ".n5": ("attributes.json",), ".tdb": ("__schema",)}
"""Endings of folders that are one thing each and are not read, and the files by which such a folder is known."""
MAX_DEPTH = 64  # folders within folders


def find_inputs(path: Path, *, unread: Callable[[Path], object] = lambda path: None) -> list[Path]:
    """List the data files at `path`; a file gives itself, a folder without any gives none.

    `unread` hears of each file or folder that is not read. Raises: InputError if there is nothing at `path`, or if it
    cannot be listed.
    """
    if path.is_dir():
        try:
            return _Walk(unread).files(path, 0)
        except OSError as exc:
            raise InputError(f"{path}: cannot be listed: {exc.strerror}; allow it, or name other inputs") from exc
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder")
    return [path]


@dataclass
class _Walk:
    unread: Callable[[Path], object]
    seen: set[Path] = field(default_factory=set)  # resolved: a link can lead back up

    def files(self, folder: Path, depth: int) -> list[Path]:
        """List the data files below the folder. Raises: OSError if it cannot be listed."""
        resolved = folder.resolve()
        if resolved in self.seen:
            return []
        self.seen.add(resolved)
        owned = next((files for reader in FOLDER_READERS if (files := reader.data_files(folder)) is not None), None)
        entries = sorted((entry for entry in folder.iterdir() if not entry.name.startswith(".")), key=_natural)
        below = {entry: self._below(entry, depth + 1) for entry in entries if entry.is_dir()}
        has_store = any(file.suffix == dictionary_learning.SUFFIX for files in below.values() for file in files)
        found = owned or []
        for entry in entries:
            if entry in below:
                found += below[entry]
            elif owned is None and _is_data(entry) and not (has_store and SIDE_FILES.fullmatch(entry.name)):
                found.append(entry)
            elif entry not in found and not SIDE_FILES.fullmatch(entry.name) and not _is_for_people(entry):
                self.unread(entry)
        return found

    def _below(self, folder: Path, depth: int) -> list[Path]:
        if any(
            folder.suffix == ending or any((folder / name).exists() for name in names)
            for ending, names in FOLDER_FORMATS.items()
        ):
            self.unread(folder)
            return []
        try:
            return [folder] if depth > MAX_DEPTH else self.files(folder, depth)
        except OSError:
            return [folder]


def _is_data(entry: Path) -> bool:
    if entry.suffix in SUFFIXES:
        return entry.suffix != ".npz" or not numpy_archive.is_sparse(entry)
    if not entry.is_file():
        return False
    try:
        with entry.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return False
    return torch_archive.looks_like(head) or head.startswith(numpy_header.MAGIC)


def _is_for_people(entry: Path) -> bool:
    return entry.suffix.lower() in FOR_PEOPLE and (bool(entry.suffix) or entry.name.isupper())


def _natural(entry: Path) -> list[tuple[int, str]]:
    """Order `a_2` before `a_10`; the name itself breaks ties such as `a_2` and `a_02`."""
    parts = re.split(r"([0-9]+)", entry.name)
    return [(int(part), "") if i % 2 else (0, part) for i, part in enumerate(parts)] + [(0, entry.name)]
