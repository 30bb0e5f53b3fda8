"""`labels.sqlite`: the checkpoint, and the only state there is.

    meta          name -> value: which SAE this is, its width, how far a run has come
    objects       the export's objects that are in, by key and ETag; id 0 stands for the API
    features      one row a feature and origin     (origin: the object it came from, 0 the API)
    explanations  one row an explanation and origin
    absent        features that do not exist according to an answer, or that failed, and why
    documents, search     full-text index over the labels, made by `saefetch.search` when a run ends

One transaction a chunk, WAL, synchronous=FULL: a chunk is done when its transaction is, also after a power cut. Rows
whose origin is no longer in `objects` are dead: an object that changed comes in under a new id, which kills the rows
of its old version in the same transaction; `keep_objects` deletes them later. So a reader never sees half a change.

Where sources overlap, the API's row of a feature counts before the export's, until a newer object of the export
replaces it.
"""

from __future__ import annotations

import os
import sqlite3
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from saefetch.store import intake
from saefetch.store.answers import Answers
from saefetch.store.one import One, read_one
from saefetch.store.records import API_ORIGIN, LIVE, Merge, Record, State, make_record
from saefetch.store.schema import check_identity, create, sqlite_errors
from saefetch.store.snapshot import copy_and_open, may_be_read_from_a_copy

FILE_NAME = "labels.sqlite"
A_DAY_S = 86_400.0


class Store:
    """The labels of one SAE on disk. Not thread-safe by itself: one thread at a time.

    Raises: StoreError from every method when the disk is full, the folder read-only, or the file damaged.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection

    # -- opening and closing -----------------------------------------------------------------------------------------

    @classmethod
    def open(cls, folder: Path) -> Store:
        """Open the folder's store for writing, making it if there is none."""
        path = folder / FILE_NAME
        check_identity(path, may_be_empty=True)
        with sqlite_errors(path):
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
            try:
                connection.execute("PRAGMA cache_size = -4000")
                if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
                    create(connection)
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA wal_autocheckpoint = 4000")
            except BaseException:
                connection.close()
                raise
        return cls(path, connection)

    @classmethod
    def open_read_only(cls, folder: Path) -> Store:
        """Open the folder's store for reading; a download may be running on it, and the folder be another user's."""
        path = folder / FILE_NAME
        check_identity(path, may_be_empty=False)
        with sqlite_errors(path):
            connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
            )
            try:
                connection.execute("PRAGMA cache_size = -4000")
                connection.execute("SELECT 1 FROM meta")  # a damaged file is told here
            except sqlite3.Error as exc:
                connection.close()
                if not (may_be_read_from_a_copy(exc) and os.access(path, os.R_OK)):
                    raise
                connection = copy_and_open(path)
            except BaseException:
                connection.close()
                raise
        return cls(path, connection)

    def close(self) -> None:
        self.connection.close()

    def interrupt(self) -> None:
        """End the statement of another thread at once, with a StoreError there; its transaction is rolled back."""
        self.connection.interrupt()

    def settle(self) -> None:
        """Fold the write-ahead log into the file, so that the store is one file, which can be read anywhere."""
        with sqlite_errors(self.path):
            self.connection.execute("PRAGMA journal_mode = DELETE")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing: commit when the block ends, roll back on any exception."""
        with sqlite_errors(self.path):
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        with sqlite_errors(self.path):
            for row in self.connection.execute(sql, parameters):  # noqa: UP028
                yield row  # `yield from` would close the cursor, also of a store that was closed meanwhile

    # -- meta --------------------------------------------------------------------------------------------------------

    def meta(self, name: str, default: Any = None) -> Any:
        row = next(self.query("SELECT value FROM meta WHERE name = ?", (name,)), None)
        return default if row is None else row[0]

    def set_meta(self, **values: Any) -> None:
        with self.transaction() as connection:
            intake.set_meta(connection, values)

    @property
    def generation(self) -> int:
        """Goes up with every commit that changes labels."""
        return int(self.meta("generation", 0))

    # -- writing -----------------------------------------------------------------------------------------------------

    def commit(self, answers: Answers, downloaded_at: str) -> None:
        """Take in one chunk, all of it or nothing. `downloaded_at` is UTC, ISO 8601."""
        with self.transaction() as connection:
            intake.take_in(connection, answers, int(self.meta("epoch", 0)))
            intake.changed(connection, downloaded_at)

    def mark_not_exported(self, indices: Iterable[int], downloaded_at: str) -> None:
        """Record that the export, read whole, does not have these."""
        with self.transaction() as connection:
            error = "not in the bulk export; only the API can tell whether it exists"
            intake.mark_absent(connection, State.NOT_EXPORTED, 0, ((index, error) for index in indices))
            intake.changed(connection, downloaded_at)

    def begin_refresh(self, now: float) -> None:
        """Begin to ask the API for everything again, or go on with one that was interrupted within the last day."""
        if now - float(self.meta("refreshing", 0)) > A_DAY_S:
            self.set_meta(refreshing=now, epoch=int(self.meta("epoch", 0)) + 1)

    def keep_objects(self, keys: Iterable[str]) -> None:
        """Forget the export's objects that are not among `keys`, and bury every dead row."""
        keep = {"", *keys}
        with self.transaction() as connection:
            gone = [(key,) for (key,) in connection.execute("SELECT key FROM objects").fetchall() if key not in keep]
            connection.executemany("DELETE FROM objects WHERE key = ?", gone)
            n_rows = 0
            for table in ("features", "explanations"):
                dead = f"DELETE FROM {table} WHERE NOT {LIVE}"
                n_rows += connection.execute(dead).rowcount
            if gone or n_rows or self._half:  # features that the half export could not speak for are now settled
                intake.changed(connection, None)

    # -- reading -----------------------------------------------------------------------------------------------------

    def etags(self) -> dict[str, str]:
        """Return key -> ETag of the export's objects that are in."""
        return dict(self.query("SELECT key, etag FROM objects WHERE id <> 0"))

    @property
    def _half(self) -> bool:
        """Whether the export is half read: its rows are then no substitute for an answer that the API owes."""
        return bool(self.meta("export_open"))

    def states(self, d_sae: int, *, api_only: bool = False, epoch: int = 0) -> array[int]:
        """Return each feature's `State`, for indices 0 to d_sae-1.

        With `api_only` what came from the export does not count; with `epoch` what the API said before it does not.
        """
        states = array("b", bytes(d_sae))
        unknown, got, orphan, not_exported, unexplained = (
            int(state) for state in (State.UNKNOWN, State.GOT, State.ORPHAN, State.NOT_EXPORTED, State.UNEXPLAINED)
        )
        origins = f"origin = {API_ORIGIN}" if api_only else LIVE
        for index, origin in self.query(
            f"SELECT idx, origin FROM features WHERE idx < ? AND (epoch >= ? OR origin <> 0) AND {origins}",
            (d_sae, epoch),
        ):
            if origin == API_ORIGIN or states[index] != got:
                states[index] = got if origin == API_ORIGIN else unexplained
        half = self._half
        for index, state in self.query("SELECT idx, state FROM absent WHERE idx < ? AND epoch >= ?", (d_sae, epoch)):
            if (half and state == State.FAILED) or not (states[index] or (api_only and state == not_exported)):
                states[index] = state
        if not api_only and any(state in states for state in (unknown, not_exported, unexplained)):
            # An explanation that the API gave before `epoch` does not count: its feature is asked for again.
            origins = f"{LIVE} AND origin <> {API_ORIGIN}" if epoch else LIVE
            for (index,) in self.query(f"SELECT DISTINCT idx FROM explanations WHERE idx < ? AND {origins}", (d_sae,)):
                if states[index] == unexplained:
                    states[index] = got
                elif states[index] in (unknown, not_exported):
                    states[index] = orphan
        return states

    def unexplained(self, scope: range, states: array[int]) -> dict[str, int]:
        """Count the features in `scope` that are here without any explanation, by who says so.

        `states` are those of all features. `api`: the API was asked. `export`: only the export says so.
        """
        (by_api,) = next(
            self.query(
                f"SELECT count(*) FROM features AS f WHERE idx >= ? AND idx < ? AND origin = {API_ORIGIN}"
                f" AND NOT EXISTS (SELECT 1 FROM explanations WHERE idx = f.idx AND {LIVE})",
                (scope.start, scope.stop),
            )
        )
        return {"api": by_api, "export": states[scope.start : scope.stop].count(State.UNEXPLAINED)}

    def records(self, start: int, stop: int) -> Iterator[Record]:
        """Yield every feature from `start` to `stop`-1 in order, absent ones too, never holding more than one."""
        return self._records(range(start, stop), "idx >= ? AND idx < ?", (start, stop))

    def some_records(self, indices: Sequence[int]) -> Iterator[Record]:
        """Yield the features `indices`, which are in ascending order, as `records` does."""
        return self._records(indices, "idx IN (SELECT value FROM json_each(?))", (orjson.dumps(indices).decode(),))

    def _records(self, indices: Sequence[int], where: str, parameters: tuple[Any, ...]) -> Iterator[Record]:
        half = self._half
        features = Merge(
            self.query(
                "SELECT idx, max_activation, frac_nonzero, positive, negative, origin FROM features"
                f" WHERE {where} AND {LIVE} ORDER BY idx, origin",
                parameters,
            )
        )
        explanations = Merge(
            self.query(
                f"SELECT idx, text, type, model FROM explanations WHERE {where} AND {LIVE} ORDER BY idx", parameters
            )
        )
        absent = Merge(self.query(f"SELECT idx, state, error FROM absent WHERE {where} ORDER BY idx", parameters))
        try:
            for index in indices:
                yield make_record(index, features.take(index), explanations.take(index), absent.take(index), half)
        finally:
            del features, explanations, absent  # else a traceback keeps their statements open, and `settle` fails

    def described(self, start: int, stop: int) -> set[int]:
        """Return the features from `start` to `stop`-1 of which there is an explanation that is not blank."""
        of_these = f"SELECT idx, text FROM explanations WHERE idx >= ? AND idx < ? AND {LIVE}"
        return {index for index, text in self.query(of_these, (start, stop)) if text.strip()}

    def figures(self, d_sae: int) -> Iterator[tuple[int, float, float]]:
        """Yield index, largest activation and share of tokens of the features below `d_sae` that are here, rising.

        A figure that is unknown is infinite, as SQLite has no NaN; no figure in a store is infinite.
        """
        columns = "ifnull(max_activation, 9e999), ifnull(frac_nonzero, 9e999)"
        return self.query(  # of several rows of a feature the first origin's counts, as in `records`
            f"SELECT idx, {columns} FROM (SELECT *, min(origin) FROM features WHERE idx < ? AND {LIVE} GROUP BY idx)"
            " ORDER BY idx",
            (d_sae,),
        )

    def one(self, index: int) -> One:
        """Return one feature, all of it as it was at one moment, and what else says whether it may be relied on."""
        with sqlite_errors(self.path):
            return read_one(self.connection, index)

    def record(self, index: int) -> Record:
        return self.one(index).record
