"""A file's SHA-256, given up when the worker is told to stop: a shard may have 100 GB."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

_STEP_BYTES = 1 << 22


class Stopped(Exception):
    """The worker was told to stop; the shard is not done."""


def sha256_of(path: Path, stopping: Callable[[], bool] = lambda: False) -> str:
    """Hash the whole file. Raises: Stopped, soon after `stopping` says so."""
    digest, step = hashlib.sha256(), memoryview(bytearray(_STEP_BYTES))
    with path.open("rb", buffering=0) as file:
        while n := file.readinto(step):
            if stopping():
                raise Stopped
            digest.update(step[:n])
    return digest.hexdigest()
