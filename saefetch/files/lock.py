"""One process per folder: an advisory lock on `<folder>/.lock`, which holds the owner's pid.

The kernel drops the lock when the process ends, however it ends, so a stale file blocks nobody. The owner removes the
file before it lets go; a newcomer that locked the removed file notices, as the name no longer leads to it, and retries.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from saefetch.errors import LockedError

LOCK_NAME = ".lock"
DOWNLOADING = "is downloading this SAE; wait for it, or stop it and run again"

TRIES, BETWEEN_TRIES_S = 3, 0.01
"""`holder` has the lock for an instant, so a lock that is refused once is tried again."""


@contextmanager
def lock_folder(folder: Path, doing: str = DOWNLOADING) -> Iterator[None]:
    """Hold the folder's lock for the block. `doing` says of another process that has it what it does.

    Raises: LockedError with the other process' pid; OSError where the folder cannot be written.
    """
    path, n_refused = folder / LOCK_NAME, 0
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _pid_in(descriptor)
            os.close(descriptor)
            n_refused += 1
            if n_refused < TRIES:
                time.sleep(BETWEEN_TRIES_S)
                continue
            raise LockedError(f"{folder}: another process (pid {pid}) {doing}") from None
        except BaseException:
            os.close(descriptor)
            raise
        if _leads_to(path, descriptor):
            break
        os.close(descriptor)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def holder(folder: Path) -> str | None:
    """Return the pid of the process that holds the folder's lock; None where nobody does. Nothing is made or held."""
    try:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid_in(descriptor)
    finally:
        os.close(descriptor)
    return None


def _pid_in(descriptor: int) -> str:
    return os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "not known yet"


def _leads_to(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
