"""A store in a folder that may not be written, whose last writer did not end well: it is read from a private copy.

SQLite reads a file in WAL mode with the help of two more, `-wal` and `-shm`, and makes them where they are missing.
Where it may not, as in another user's folder, nothing at all can be read; so file and log are copied to where it may.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from pathlib import Path

from saefetch.errors import StoreError

N_TRIES = 3
NEEDS_MORE_FILES = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)


def may_be_read_from_a_copy(exc: sqlite3.Error) -> bool:
    """Say whether SQLite failed for want of a file beside the database that it may not make."""
    return getattr(exc, "sqlite_errorcode", 0) & 0xFF in NEEDS_MORE_FILES


def copy_and_open(path: Path) -> sqlite3.Connection:
    """Open a copy of the database and its log, which goes when the connection is closed.

    Raises: OSError where they cannot be read or copied; StoreError where somebody writes to them all the time;
    sqlite3.Error.
    """
    with tempfile.TemporaryDirectory(prefix="saefetch-") as folder:
        copy = Path(folder) / path.name
        for _ in range(N_TRIES):
            before = _state(path)
            for suffix in ("", "-wal"):
                if (source := Path(f"{path}{suffix}")).exists():
                    shutil.copyfile(source, f"{copy}{suffix}")
            if _state(path) == before:
                break
        else:
            raise StoreError(f"{path}: another program is writing to it; try again when that is done")
        connection = sqlite3.connect(copy, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = DELETE")  # folds the log in: then the copy is one file
            connection.execute("PRAGMA query_only = ON")
        except BaseException:
            connection.close()
            raise
        return connection  # an open file stays readable after its name is gone


def _state(path: Path) -> tuple[tuple[int, int] | None, ...]:
    paths = (path, Path(f"{path}-wal"))
    found = [file.stat() if file.exists() else None for file in paths]
    return tuple(None if stat is None else (stat.st_size, stat.st_mtime_ns) for stat in found)
