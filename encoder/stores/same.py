"""Is a shard as it was? Its status, its SHA-256, and what `meta` says of it: of a file, a folder, or an object."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from encoder.errors import ChangingError
from encoder.stores.object_path import ObjectPath
from saefetch.files import digest
from saefetch.files.digest import Status


def status_now(path: Path) -> Status:
    """Return the status of a shard as it is now: of an object the store is asked. Raises: OSError."""
    if isinstance(path, ObjectPath):
        path.tree.renew(path.address.key)
    return digest.status_of(path)


def sha256_of(
    path: Path, stopping: Callable[[], bool] = lambda: False, is_read: Callable[[], bool] = lambda: True
) -> str:
    """Hash a shard. An object is hashed behind the reader of its rows until `is_read`, so that its bytes come once.

    Raises: Stopped, soon after `stopping` says so.
    """
    if isinstance(path, ObjectPath) and not path.is_dir():
        return path.ranges.sha256(stopping, is_read)
    return digest.sha256_of(path, stopping)


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
    status = digest.status_of(shard)
    if meta.get("shard_size") != status.st_size:
        return False
    name, now = _version(shard, status)
    is_as_it_was = meta.get("shard_path") == str(shard) and meta.get(name) == now
    return is_as_it_was or meta.get("shard_sha256") == sha256()


def _version(shard: Path, status: Status) -> tuple[str, str | int]:
    if isinstance(shard, ObjectPath) and shard.is_file():
        return "shard_etag", shard.known.etag
    return "shard_mtime_ns", status.st_mtime_ns
