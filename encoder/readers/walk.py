"""From a file or folder to data files: folder formats list theirs, the rest is walked in natural order.

In a folder that a format owns (an Arrow dataset, a memmap store, saev, Language-Model-SAEs chunks, activault) exactly
its data files count. Hidden files and folders are passed over, and so are the formats' side files and what is written
for people. All else that is not read is reported: compressed and wrapped files, folders of other formats, files that an
index does not name.

One bad thing stops nothing else: a folder that cannot be listed, a missing file that an index names or the index itself
is listed with the data files, and opening it fails with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from encoder.errors import InputError
from encoder.file.beside import is_beside
from encoder.readers import (
    dictionary_learning,
    hdf5_file,
    installed,
    numpy_archive,
    numpy_header,
    packed,
    packed_stream,
    raw_memmap,
    tar_archive,
    torch_archive,
    torch_legacy,
    zarr_store,
)
from encoder.readers.containers import HEAD_BYTES
from encoder.readers.natural_order import natural
from encoder.readers.packed_stream import packing_of, unpacked_name
from encoder.readers.registry import FOLDER_READERS
from encoder.readers.select import RAW
from encoder.readers.sidecars import is_sidecar

SUFFIXES = {".npy", ".npz", ".parquet", ".feather", ".safetensors", ".pt", ".pth", ".arrow", ".memmap"}
FOR_PEOPLE = {
    "", ".md", ".rst", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".log", ".lock", ".py", ".ipynb", ".sh", ".html",
    ".css", ".js", ".pdf", ".png", ".jpg", ".jpeg", ".svg", ".gif", ".md5", ".sha256",
}  # fmt: skip
"""Endings of files that hold no activations. A file without an ending counts as one only under a name in capitals."""
TEXT = {".txt", ".json", ".jsonl"}
"""Endings of files that may hold activations, as np.savetxt and json.dump write them, unless their names are known."""
KNOWN_TEXT = re.compile(
    r"(readme|license|licence|notice|copying|changelog|authors|requirements)[^/]*\.txt"
    r"|(.*[._-])?(meta|metadata|config|cfg|info|shape|settings|args|params|manifest|index|state|stats|shards|tokenizer"
    r"|special_tokens_map|vocab|dataset_infos?)\.json",
    re.IGNORECASE,
)
"""Names of text that holds no activations. A .json that is called after a data file beside it describes it."""
SIDE_FILES = re.compile(r"(labels\.bin|(mean|std|tokens|sequence_ranges)\.pt|(cache-|indices).*\.arrow|.*\.meta)")
"""What the formats that own folders write beside their data files."""
FOLDER_FORMATS = {".zarr": (), ".n5": ("attributes.json",), ".tdb": ("__schema",)}
"""Endings of folders that are one thing each and are not read, and the files by which such a folder is known."""
UNFINISHED = re.compile(r"(~|\.(bak|backup|old|orig|tmp|temp|part|partial|crdownload|incomplete|swp))$", re.IGNORECASE)
MAX_DEPTH = 64  # folders within folders
EMPTY: Mapping[str, object] = MappingProxyType({})


def find_inputs(
    path: Path, *, unread: Callable[[Path], object] = lambda path: None, select: Mapping[str, object] = EMPTY
) -> list[Path]:
    """List the data files at `path`; a file gives itself, a folder without any gives none.

    Files without a header are data where `select` declares them, or a side file does. `unread` hears of each file or
    folder that is not read. Raises: InputError if there is nothing at `path`, or if it cannot be listed.
    """
    if path.is_dir() and not zarr_store.is_store(path):
        try:
            return _Walk(unread, not RAW.keys().isdisjoint(select)).files(path, 0)
        except OSError as exc:
            raise InputError(f"{path}: cannot be listed: {exc.strerror}; allow it, or name other inputs") from exc
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder")
    return [path]


@dataclass
class _Walk:
    unread: Callable[[Path], object]
    takes_raw: bool  # files without a header, as the caller declares what they hold
    seen: set[Path] = field(default_factory=set)  # resolved: a link can lead back up

    def files(self, folder: Path, depth: int) -> list[Path]:
        """List the data files below the folder. Raises: OSError if it cannot be listed."""
        resolved = folder.resolve()
        if resolved in self.seen:
            return []
        self.seen.add(resolved)
        readers = (*installed.installed(), *FOLDER_READERS)
        owned = next((files for reader in readers if (files := reader.data_files(folder)) is not None), None)
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
        entries.sort(key=lambda entry: natural(entry.name))
        below = {entry: self._below(entry, depth + 1) for entry in entries if entry.is_dir()}
        has_store = any(file.suffix == dictionary_learning.SUFFIX for files in below.values() for file in files)
        found, beside = owned or [], list[Path]()
        for entry in entries:
            if entry in below:
                found += below[entry]
            elif owned is None and is_sidecar(entry):
                continue  # it is read with the file that it lies beside
            elif packed.is_beside_its_unpacked(entry):
                self.unread(entry)
            elif owned is None and self._is_data(entry) and not (has_store and SIDE_FILES.fullmatch(entry.name)):
                found.append(entry)
            elif entry not in found and not SIDE_FILES.fullmatch(entry.name) and not is_for_people(entry):
                beside.append(entry)
        stems = {entry.stem for entry in found if entry.parent == folder}
        for entry in beside:
            if entry.suffix != ".json" or not _describes(entry, stems):
                self.unread(entry)
        return found

    def _is_data(self, entry: Path) -> bool:
        if is_unfinished(entry):
            return False
        if any(reader.takes(entry) for reader in installed.installed()):
            return True
        if entry.suffix in SUFFIXES:
            return entry.suffix != ".npz" or not numpy_archive.is_sparse(entry)
        if not entry.is_file():
            return False
        if entry.suffix in raw_memmap.SUFFIXES and (self.takes_raw or raw_memmap.has_side_file(entry)):
            return True
        try:
            with entry.open("rb") as file:
                head = file.read(HEAD_BYTES)
        except OSError:
            return False
        if packing_of(head) is not None:
            return entry.suffix.lower() in packed_stream.SUFFIXES and self._is_named_as_data(entry)
        return head.startswith(numpy_header.MAGIC) or any(
            format_.looks_like(head) for format_ in (torch_archive, torch_legacy, hdf5_file, tar_archive)
        )

    def _is_named_as_data(self, entry: Path) -> bool:
        """Say whether what is packed in a file is data, by its name."""
        inner = entry.with_name(unpacked_name(entry))
        is_raw = inner.suffix in raw_memmap.SUFFIXES and (self.takes_raw or raw_memmap.has_side_file(inner))
        return is_raw or inner.suffix in SUFFIXES | {".h5", ".hdf5", ".tar"}

    def _below(self, folder: Path, depth: int) -> list[Path]:
        if zarr_store.is_store(folder):
            return [folder]
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


def is_unfinished(entry: Path) -> bool:
    """Say whether a file is a backup, or a copy that is not finished, by its name: its rows would be there twice."""
    return UNFINISHED.search(entry.name) is not None


def is_for_people(entry: Path) -> bool:
    """Say whether a file is, by its name, no data: text and pictures for people, settings, what a format leaves, what
    lies beside results.
    """
    if is_beside(entry):
        return True
    if entry.suffix.lower() in TEXT:
        return KNOWN_TEXT.fullmatch(entry.name) is not None
    return entry.suffix.lower() in FOR_PEOPLE and (bool(entry.suffix) or entry.name.isupper())


def _describes(entry: Path, stems: set[str]) -> bool:
    """Say whether a side file is called after one of the data files that have these stems."""
    return any(entry.stem == stem or entry.stem.startswith((f"{stem}.", f"{stem}_")) for stem in stems)
