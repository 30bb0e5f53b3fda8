"""From a file or folder to data files: folder formats list theirs, the rest is walked in natural order.

In a folder that a format owns (an Arrow dataset, a memmap store, saev, Language-Model-SAEs chunks, activault) exactly
its data files count; side files such as `labels.bin` or `mean.pt` do not. Hidden files and folders are passed over.
What looks like data elsewhere but is read by no format, such as a features file of ours, is reported.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from encoder.errors import InputError, ShardError
from encoder.readers import dictionary_learning, numpy_archive, numpy_header, torch_archive
from encoder.readers.registry import FOLDER_READERS
from encoder.readers.source import HEAD_BYTES

SUFFIXES = {".npy", ".npz", ".parquet", ".feather", ".safetensors", ".pt", ".pth", ".arrow", ".memmap"}
UNREAD_SUFFIXES = {".npz", ".pkl", ".pickle", ".h5", ".hdf5", ".bin", ".ckpt", ".joblib", ".dat", ".mmap"}
MAX_DEPTH = 64  # folders within folders


def find_inputs(path: Path, *, unread: Callable[[Path], object] = lambda path: None) -> list[Path]:
    """List the data files at `path`; a file gives itself, a folder without any gives none.

    `unread` hears of each file that looks like data by its name but belongs to no format. Raises InputError if there is
    nothing there, if a folder cannot be listed, or if a folder's index names a file that is missing.
    """
    if path.is_dir():
        return _Walk(unread).files(path, 0)
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder")
    return [path]


@dataclass
class _Walk:
    unread: Callable[[Path], object]
    seen: set[Path] = field(default_factory=set)  # resolved: a link can lead back up

    def files(self, folder: Path, depth: int) -> list[Path]:
        try:
            resolved = folder.resolve()
            if resolved in self.seen:
                return []
            self.seen.add(resolved)
            owned = _owned(folder)
            entries = sorted((entry for entry in folder.iterdir() if not entry.name.startswith(".")), key=_natural)
        except OSError as exc:
            raise InputError(f"{folder}: cannot be listed: {exc.strerror}; allow it, or name other inputs") from exc
        if depth > MAX_DEPTH:
            raise InputError(f"{folder}: over {MAX_DEPTH} folders deep; name the folder that holds the activations")
        below = {entry: self.files(entry, depth + 1) for entry in entries if entry.is_dir()}
        has_store = any(file.suffix == dictionary_learning.SUFFIX for files in below.values() for file in files)
        found = owned or []
        for entry in entries:
            if entry in below:
                found += below[entry]
            elif owned is None and not (has_store and entry.name in dictionary_learning.SIDE_FILES):
                if _is_data(entry):
                    found.append(entry)
                elif entry.suffix in UNREAD_SUFFIXES:
                    self.unread(entry)
        return found


def _owned(folder: Path) -> list[Path] | None:
    try:
        owned = next((files for reader in FOLDER_READERS if (files := reader.data_files(folder)) is not None), None)
    except ShardError as exc:
        raise InputError(str(exc)) from exc
    for file in owned or ():
        if not file.is_file():
            raise InputError(f"{file}: named by the folder's index but missing; the copy is incomplete")
    return owned


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


def _natural(entry: Path) -> list[tuple[int, str]]:
    """Order `a_2` before `a_10`; the name itself breaks ties such as `a_2` and `a_02`."""
    parts = re.split(r"([0-9]+)", entry.name)
    return [(int(part), "") if i % 2 else (0, part) for i, part in enumerate(parts)] + [(0, entry.name)]
