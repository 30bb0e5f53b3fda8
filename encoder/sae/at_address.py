"""An SAE at an address: its files are brought into this machine's cache, once for each version of them.

    s3://bucket/saes/layer_16 -> $SAEFETCH_CACHE_DIR/weights/<digest>/saes/layer_16/...

The digest is that of the address and of the tags of its files, so a file that is written again makes another folder.
The configurations beside the SAE and above it come along, as loaders look there. The folders that were used last stay.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from encoder.errors import InputError
from encoder.machine.cache import cache_folder
from encoder.machine.scratch import Scratch
from encoder.sae.footprint import files_at
from encoder.stores.fetched import fetch_all
from encoder.stores.object_path import ObjectPath

FOLDER = "weights"
MOST = 8
"""Versions of SAEs that stay for more than a day."""
_DAY_S = 86_400.0


def brought_here(path: Path) -> Path:
    """Return a path of this machine with the SAE of a path or address. Raises: InputError where there is none."""
    if not isinstance(path, ObjectPath):
        return path
    files = files_at(path)
    if files is None:
        raise InputError(f"{path}: has more files than an SAE; name the folder or the file of one SAE")
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder")
    tags = "\n".join(f"{name} {file.known.size} {file.known.etag}" for name, file in sorted(files.items()))
    digest = hashlib.sha256(f"{path}\n{tags}".encode()).hexdigest()[:32]
    cache = cache_folder()
    folder = None if cache is None else _made(cache / FOLDER)
    if folder is None:  # nothing is to be kept: for as long as the process lives
        scratch = Scratch()
        atexit.register(scratch.remove)
        folder = scratch.folder
    kept = folder / digest
    if not kept.is_dir():
        temporary = folder / f".{digest}.{secrets.token_hex(4)}"
        try:
            fetch_all({temporary / name: file for name, file in files.items()}, path)
            with suppress(OSError):  # another process was first
                temporary.rename(kept)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    with suppress(OSError):
        os.utime(kept)
    _thin(folder)
    return kept.joinpath(*path.address.key.split("/"))


@contextmanager
def told_of(path: Path, here: Path) -> Iterator[None]:
    """Name the address in what goes wrong with its copy."""
    try:
        yield
    except InputError as exc:
        exc.args = (str(exc).replace(str(here), str(path)),)
        raise


def _made(folder: Path) -> Path | None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def _thin(folder: Path) -> None:
    """Remove the versions that were not used for longest, and what a killed process left."""
    found: list[tuple[float, Path]] = []
    for entry in folder.iterdir():
        with suppress(FileNotFoundError):
            if time.time() - (used := entry.stat().st_mtime) > _DAY_S:
                found.append((used, entry))
    old = [entry for _, entry in sorted(found)]
    n_kept = max(0, MOST - sum(1 for entry in folder.iterdir() if entry not in old))
    left = [entry for entry in old if entry.name.startswith(".")]
    whole = [entry for entry in old if not entry.name.startswith(".")]
    for entry in left + whole[: max(0, len(whole) - n_kept)]:
        shutil.rmtree(entry, ignore_errors=True)
