"""Is a shard as it was? Its status, its SHA-256, and what `meta` says of it: of a file, a folder, or an object."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from encoder.errors import ChangingError
from encoder.stores.object_path import ObjectPath, number_of
from encoder.stores.store import Entry
from saefetch.files import digest
from saefetch.files.digest import Status, Stopped


def status_now(path: Path) -> Status:
    """Return the status of a shard as it is now: of an object the store is asked. Raises: OSError."""
    if isinstance(path, ObjectPath):
        path.tree.renew(path.address.key)
    return status_of(path)


def status_of(path: Path) -> Status:
    """Return the status of a shard, as far as it is known. Raises: OSError."""
    if not isinstance(path, ObjectPath):
        return digest.status_of(path)
    if not path.is_dir():
        status = path.stat()
        return Status(status.st_size, status.st_mtime_ns, status.st_ino)
    below = _below(path)
    return Status(
        sum(one.size for _, one in below), 0, number_of("\n".join(f"{name} {one.etag}" for name, one in below))
    )


def sha256_of(
    path: Path, stopping: Callable[[], bool] = lambda: False, is_read: Callable[[], bool] = lambda: True
) -> str:
    """Hash a shard. An object is hashed behind the reader of its rows until `is_read`, so that its bytes come once.

    Raises: Stopped, soon after `stopping` says so.
    """
    if not isinstance(path, ObjectPath):
        return digest.sha256_of(path, stopping)
    if path.is_dir():
        return _sha256_of_folder(path, stopping)
    return path.tree.once("sha256", path.known, lambda: path.ranges.sha256(stopping, is_read))


def _sha256_of_folder(path: ObjectPath, stopping: Callable[[], bool]) -> str:
    """Hash each object with its name, as `digest.sha256_of` does with the files of a folder."""
    whole = hashlib.sha256()
    for name, entry in _below(path):
        if stopping():
            raise Stopped
        whole.update(b"%d %s %d " % (len(name.encode()), name.encode(), entry.size))
        whole.update(path.tree.read_range(entry, 0, entry.size))
    return whole.hexdigest()


def _below(path: ObjectPath) -> list[tuple[str, Entry]]:
    """Return the objects below an address with their names there, in the order of paths."""
    found = [(entry.key[len(path.address.key) + 1 :], entry) for entry in path.tree.store.list(path.address.key)]
    return sorted(found, key=lambda one: one[0].split("/"))


def identity_of(path: Path, before: Status, sha256: str) -> dict[str, Any]:
    """Return what `meta` says of a shard that was read. Raises: ChangingError where it is not as it was `before`."""
    after = status_now(path)
    if any(getattr(after, name) != getattr(before, name) for name in ("st_size", "st_mtime_ns", "st_ino")):
        raise ChangingError(f"{path}: changed while it was read; submit it again when it is complete")
    name, version = _version(path, before)
    return {"shard_path": str(path.absolute()), "shard_size": before.st_size, name: version, "shard_sha256": sha256}


def is_of(meta: dict[str, Any], shard: Path, sha256: Callable[[], str]) -> bool:
    """Say whether a result with this `meta` is of the shard as it is now; hashes it only where that is not clear.

    Raises: OSError where the shard is gone.
    """
    status = status_of(shard)
    if meta.get("shard_size") != status.st_size:
        return False
    name, now = _version(shard, status)
    is_as_it_was = meta.get("shard_path") == str(shard) and meta.get(name) == now
    return is_as_it_was or meta.get("shard_sha256") == sha256()


def _version(shard: Path, status: Status) -> tuple[str, str | int]:
    if isinstance(shard, ObjectPath):
        return "shard_etag", shard.known.etag if shard.is_file() else f"{status.st_ino:x}"
    return "shard_mtime_ns", status.st_mtime_ns
