"""A file's SHA-256, given up when the worker is told to stop: a shard may have 100 GB. A shard may also be a folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_STEP_BYTES = 1 << 22


class Stopped(Exception):
    """The worker was told to stop; the shard is not done."""


class Status(NamedTuple):
    """What tells that a file, or a folder with all that is in it, is as it was."""

    st_size: int
    st_mtime_ns: int
    st_ino: int


def status_of(path: Path) -> Status:
    """Return the status of a file; of a folder the sum of its files' sizes and the newest time in it."""
    own = path.stat()
    if not path.is_dir():
        return Status(own.st_size, own.st_mtime_ns, own.st_ino)
    below = [one.stat() for one in _files_of(path)]
    newest = max((one.st_mtime_ns for one in below), default=own.st_mtime_ns)
    return Status(sum(one.st_size for one in below), newest, own.st_ino)


def sha256_of(path: Path, stopping: Callable[[], bool] = lambda: False) -> str:
    """Hash the whole file, or each file of a folder with its name, in order of names.

    Raises: Stopped, soon after `stopping` says so.
    """
    digest, step = hashlib.sha256(), memoryview(bytearray(_STEP_BYTES))
    is_folder = path.is_dir()
    for one in _files_of(path) if is_folder else [path]:
        if is_folder:
            name = os.fsencode(one.relative_to(path).as_posix())
            digest.update(b"%d %s %d " % (len(name), name, one.stat().st_size))
        with one.open("rb", buffering=0) as file:
            while n := file.readinto(step):
                if stopping():
                    raise Stopped
                digest.update(step[:n])
    return digest.hexdigest()


def _files_of(folder: Path) -> list[Path]:
    return sorted(Path(root, name) for root, _, names in os.walk(folder) for name in names)
