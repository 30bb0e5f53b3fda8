"""The store's schema, whose file it is, and SQLite's errors in plain words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from saefetch.errors import StoreError

APPLICATION_ID = 0x5AEFE7C4
SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE objects (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, etag TEXT NOT NULL);
CREATE TABLE features (
    idx INTEGER NOT NULL, origin INTEGER NOT NULL, epoch INTEGER NOT NULL,
    max_activation REAL, frac_nonzero REAL, positive BLOB NOT NULL, negative BLOB NOT NULL,
    PRIMARY KEY (idx, origin)) WITHOUT ROWID;
CREATE TABLE explanations (
    idx INTEGER NOT NULL, origin INTEGER NOT NULL, type TEXT NOT NULL, model TEXT NOT NULL, text TEXT NOT NULL,
    PRIMARY KEY (idx, origin, type, model, text)) WITHOUT ROWID;
CREATE TABLE absent (
    idx INTEGER PRIMARY KEY, state INTEGER NOT NULL, epoch INTEGER NOT NULL, error TEXT NOT NULL);
INSERT INTO objects VALUES (0, '', '');
"""


def create(connection: sqlite3.Connection) -> None:
    connection.executescript(
        f"BEGIN IMMEDIATE; {_SCHEMA}"
        f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
    )


def check_identity(path: Path, *, may_be_empty: bool) -> None:
    """Refuse a file that is not a store. To be called before SQLite opens it, which may write to it.

    SQLite folds another program's write-ahead log into its file, for one. The header's fields are those of
    https://www.sqlite.org/fileformat.html#the_database_header; what has no such header is left to SQLite to judge.
    """
    with suppress(OSError), path.open("rb") as file:
        header = file.read(100)
        if not header.startswith(b"SQLite format 3\0"):
            if not header and not may_be_empty:
                raise StoreError(f"{path}: holds nothing yet; run the download again")
            return
        version, application_id = (int.from_bytes(header[at : at + 4], "big") for at in (60, 68))
        _refuse_foreign(path, application_id, version)


def _refuse_foreign(path: Path, application_id: int, version: int) -> None:
    advice = "it was left as it is; move it away, or choose another --data-dir"
    if application_id != APPLICATION_ID:
        raise StoreError(f"{path}: this is an SQLite database, but not one of saefetch's; {advice}")
    if version != SCHEMA_VERSION:
        age = "an older" if version < SCHEMA_VERSION else "a newer"
        raise StoreError(
            f"{path}: written by {age} saefetch (schema {version}, this one reads {SCHEMA_VERSION}); {advice}"
        )


@contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into one clear line; what was committed stays committed."""
    try:
        yield
    except sqlite3.Error as exc:
        raise StoreError(f"{path}: {_advice(exc)}") from exc


def _advice(exc: sqlite3.Error) -> str:
    code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return "the disk is full; what was committed is safe: free some space and run the same command again"
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return f"cannot be opened for this ({exc}); check that the folder exists and may be written"
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return f"damaged, or not a database ({exc}); it was left as it is: move it away and run again to download anew"
    if code == sqlite3.SQLITE_IOERR:
        return f"the disk refused a write ({exc}); what was committed is safe: mend it and run the same command again"
    if code == sqlite3.SQLITE_BUSY:
        return "another program is writing to it; try again when that is done"
    return f"SQLite says: {exc}"
