"""Objects as files of this machine, for what cannot be read by ranges. They lie in scratch, and go when nobody reads.

fetch        one object, or all below an address, into a folder
keep_local   the object's bytes lie here from now on, for all who open its path
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from encoder.errors import InputError, ShardError
from encoder.machine.scratch import FREE_BYTES, Scratch
from encoder.stores.object_path import ObjectPath
from encoder.stores.store import Entry

_STEP_BYTES = 8 << 20


def fetch(path: ObjectPath, to: Path) -> None:
    """Copy an object, or all objects below an address, to the path `to`.

    Raises: ShardError where the disk has no room, with what to do; ChangingError, UnreachableError.
    """
    below = list(path.tree.store.list(path.address.key)) if path.is_dir() else []
    entries = below or [path.known]
    if why := _why_no_room(sum(entry.size for entry in entries), to.parent):
        raise ShardError(
            f"{path}: is not read by ranges, and {why} {tempfile.gettempdir()}: set TMPDIR to a larger disk"
        )
    if not below:
        _copy(path, entries[0], to)
        return
    list(path.tree.pool.map(partial(_copy_small, path, to), entries))


def fetch_all(files: Mapping[Path, ObjectPath], what: ObjectPath) -> None:
    """Copy objects to paths of this machine, which are on one disk. Raises: InputError where it has no room."""
    for to in files:
        to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    n_bytes = sum(file.known.size for file in files.values())
    if why := _why_no_room(n_bytes, next(iter(files)).parent):
        raise InputError(f"{what}: {why} its cache: set SAEFETCH_CACHE_DIR to a folder on a larger disk")
    for to, file in files.items():
        _copy(file, file.known, to)
        file.tree.drop(file.address.key)


def _why_no_room(n_bytes: int, folder: Path) -> str:
    free = max(0, shutil.disk_usage(folder).free - FREE_BYTES)
    return f"its {n_bytes:,} bytes do not fit into the {free:,} that are free in" if n_bytes > free else ""


def _copy_small(path: ObjectPath, to: Path, entry: Entry) -> None:
    parts = entry.key[len(path.address.key) + 1 :].split("/")
    if not {"", ".", ".."}.isdisjoint(parts):
        raise ShardError(f"{path}: holds an object that no file can be called as: {'/'.join(parts)[:200]!r}; rename it")
    into = to.joinpath(*parts)
    into.parent.mkdir(parents=True, exist_ok=True)
    into.write_bytes(path.tree.read_range(entry, 0, entry.size))


def _copy(path: ObjectPath, entry: Entry, to: Path) -> None:
    """Copy one object, and keep the hash of what went by."""
    digest, ranges = hashlib.sha256(), path.tree.ranges(entry)
    with to.open("wb") as file:
        for at in range(0, entry.size, _STEP_BYTES):
            step = memoryview(bytearray(min(_STEP_BYTES, entry.size - at)))
            ranges.fill(step, at)
            digest.update(step)
            file.write(step)
    path.tree.once("sha256", entry, digest.hexdigest)


def keep_local(path: ObjectPath) -> Path:
    """Bring an object here, once; it goes with the tree. Raises: as `fetch` does."""

    def bring() -> Path:
        scratch = Scratch()
        try:
            to = scratch.folder / (path.name or "object")
            fetch(path, to)
        except BaseException:
            scratch.remove()
            raise
        weakref.finalize(path.tree, scratch.remove)
        return to

    return path.tree.once("local", path.known, bring)
