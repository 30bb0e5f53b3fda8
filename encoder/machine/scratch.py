"""A folder for what has to lie on this machine for a while. What a killed process left, the next one removes.

<TMPDIR>/saefetch-scratch-.../.lock     held by the process that made the folder
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FREE_BYTES = 1 << 29  # left on the disk
PREFIX = "saefetch-scratch-"


class Scratch:
    """A folder held by a lock: without one, its process is dead, and the next one removes it."""

    def __init__(self) -> None:
        parent = Path(tempfile.gettempdir())
        _remove_left(parent)
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        self._lock = os.open(self.folder / ".new", os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        (self.folder / ".new").rename(self.folder / ".lock")  # from here on others may look, and find it held

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Give a folder for as long as the block runs."""
    scratch = Scratch()
    try:
        yield scratch.folder
    finally:
        scratch.remove()


def _remove_left(parent: Path) -> None:
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            lock = os.open(folder / ".lock", os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
