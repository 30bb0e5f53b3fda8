"""`<data-dir>/jobs.sqlite`: the jobs and their events. One transaction a change, so a crash leaves a job in one state.

    submit -> queued -> running -> done | failed | cancelled        retry: failed, cancelled -> queued
                 ^         |
                 +---------+  the service stopped, or another process has the SAE

Each change of a job writes the job's object into `events` in the same transaction, so the events tell what happened, in
order, over restarts. Of an SAE there is at most one job that has not ended: an index of the database sees to it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast

import orjson

from saefetch.errors import StoreError
from saefetch.service.rows import Job, Wish
from saefetch.service.shapes import ENDED, STATES, Event, JobState
from saefetch.store.schema import sqlite_errors

FILE_NAME = "jobs.sqlite"
APPLICATION_ID = 0x5AEFE70B
SCHEMA_VERSION = 1
KEPT_EVENTS = 10_000

_OPEN = "state IN ('queued', 'running')"
_SCHEMA = f"""
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, state TEXT NOT NULL, folder TEXT NOT NULL,
    release TEXT NOT NULL, sae_id TEXT NOT NULL, neuronpedia_id TEXT NOT NULL, num_features INTEGER,
    source TEXT NOT NULL, looks TEXT NOT NULL, cancelling INTEGER NOT NULL DEFAULT 0,
    submitted_at TEXT NOT NULL, started_at TEXT, ended_at TEXT, error TEXT, done INTEGER, result TEXT);
CREATE UNIQUE INDEX one_open_job ON jobs (folder) WHERE {_OPEN};
CREATE INDEX jobs_by_state ON jobs (state, id);
CREATE TABLE events (id INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT NOT NULL);
"""
_COLUMNS = (
    "id, state, folder, release, sae_id, neuronpedia_id, num_features, source, looks, cancelling, submitted_at,"
    " started_at, ended_at, error, done, result"
)


class JobTable:
    """The open database. For one thread. Raises: StoreError from every method where the disk refuses.

    `now` is the time as the rows have it: UTC, `2026-12-01T09:30:00Z`.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection, self.path = connection, path

    @classmethod
    def open(cls, data_dir: Path) -> JobTable:
        path = data_dir / FILE_NAME
        with sqlite_errors(path):
            connection = sqlite3.connect(path, isolation_level=None, timeout=30)
            try:
                _check(connection, path)
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
            except BaseException:
                connection.close()
                raise
        return cls(connection, path)

    def close(self) -> None:
        self._connection.close()

    # -- reading -----------------------------------------------------------------------------------------------------

    def get(self, job_id: int) -> Job | None:
        return next(self._jobs("WHERE id = ?", (job_id,)), None)

    def open_job(self, folder: str) -> Job | None:
        """Return the job of this SAE that has not ended."""
        return next(self._jobs(f"WHERE folder = ? AND {_OPEN}", (folder,)), None)

    def queued(self) -> list[Job]:
        """Return the queued jobs, the first one first."""
        return list(self._jobs("WHERE state = 'queued' ORDER BY id"))

    def page(self, state: str | None, limit: int, before: int | None) -> list[Job]:
        """Return up to `limit` jobs, the latest first, those before the id `before`."""
        where = "WHERE id < ?" + (" AND state = ?" if state else "")
        parameters: list[Any] = [(1 << 62) if before is None else before, *([state] if state else []), limit]
        return list(self._jobs(f"{where} ORDER BY id DESC LIMIT ?", parameters))

    def counts(self) -> dict[str, int]:
        """Return the number of jobs by state, every state named."""
        counts = dict.fromkeys(STATES, 0)
        return {**counts, **dict(self._query("SELECT state, count(*) FROM jobs GROUP BY state"))}

    def features(self) -> dict[str, int]:
        """Return the number of features by state, by the latest job of each SAE that counted them."""
        latest = "SELECT max(id) FROM jobs WHERE json_extract(result, '$.successful') IS NOT NULL GROUP BY folder"
        names = ("successful", "missing", "failed")
        sums = ", ".join(f"coalesce(sum(json_extract(result, '$.{name}')), 0)" for name in names)
        return dict(zip(names, next(self._query(f"SELECT {sums} FROM jobs WHERE id IN ({latest})")), strict=True))

    def last_end(self, folder: str) -> str | None:
        """Return when the latest job of this SAE ended."""
        return next(self._query("SELECT max(ended_at) FROM jobs WHERE folder = ?", (folder,)))[0]  # type: ignore[no-any-return]

    def events(self, after: int, limit: int) -> list[Event]:
        rows = self._query("SELECT id, job FROM events WHERE id > ? ORDER BY id LIMIT ?", (after, limit))
        return [{"id": number, "kind": "job", "data": orjson.loads(job)} for number, job in rows]

    @property
    def event_ids(self) -> tuple[int, int]:
        """The ids of the oldest event that is kept, and of the latest that there ever was; 0 where there is none."""
        (oldest,) = next(self._query("SELECT coalesce(min(id), 0) FROM events"))
        latest = next(self._query("SELECT seq FROM sqlite_sequence WHERE name = 'events'"), (0,))[0]
        return oldest, latest

    # -- changes, one transaction each -------------------------------------------------------------------------------

    def submit(self, wishes: Sequence[Wish], now: str) -> tuple[list[Job], int]:
        """Make a job of each wish whose SAE has no open one; return the jobs in order, and how many are new.

        All of them or none.

        Raises: Clash where an SAE has an open job of other options.
        """
        jobs, n_new = [], 0
        with self._change():
            for wish in wishes:
                job = self.open_job(wish.folder)
                if job is None:
                    job = self._insert(wish, now)
                    n_new += 1
                elif not job.wish.covers(wish):
                    raise Clash(job)
                jobs.append(job)
        return jobs, n_new

    def start(self, job_id: int, now: str) -> Job:
        return self._set(job_id, state="running", started_at=now, ended_at=None, error=None)

    def progress(self, job_id: int, done: int, total: int) -> Job:
        return self._set(job_id, done=done, result=orjson.dumps({"total_features": total}).decode())

    def hold(self, job_id: int, error: str | None) -> Job:
        """Put a job back into the queue, and say why it waits."""
        return self._set(job_id, state="queued", error=error, started_at=None)

    def cancelling(self, job_id: int) -> Job:
        """Write down that a running job is to be cancelled, which a crash must not forget."""
        return self._set(job_id, cancelling=1)

    def end(self, job_id: int, state: JobState, now: str, error: str | None, result: dict[str, Any] | None) -> Job:
        """End a job. `result` holds its counts, None where they are what they were."""
        values: dict[str, Any] = {"state": state, "ended_at": now, "error": error, "cancelling": 0}
        if result is not None:
            values["result"] = orjson.dumps(result).decode()
            values["done"] = None if result["successful"] is None else result["successful"] + result["missing"]
        return self._set(job_id, **values)

    def retry(self, job_id: int) -> Job:
        """Raises: Clash where another job of the SAE is open."""
        with self._change():
            job = cast("Job", self.get(job_id))
            other = self.open_job(job.wish.folder)
            if other is not None:
                raise Clash(other)
            return self._update(
                job_id, state="queued", error=None, started_at=None, ended_at=None, done=None, result=None
            )

    def recover(self, now: str) -> None:
        """Put the jobs back that were running when the last service ended, however it ended."""
        for job in list(self._jobs("WHERE state = 'running'")):
            if job.cancelling:
                self.end(job.id, "cancelled", now, None, None)
            else:
                self.hold(job.id, None)

    def forget(self, ended_before: str) -> None:
        """Delete the jobs that ended before that time."""
        ended = ", ".join(f"'{state}'" for state in ENDED)
        with self._change():
            self._connection.execute(f"DELETE FROM jobs WHERE state IN ({ended}) AND ended_at < ?", (ended_before,))

    # -- inside ------------------------------------------------------------------------------------------------------

    def _insert(self, wish: Wish, now: str) -> Job:
        names = (wish.folder, wish.release, wish.sae_id, wish.neuronpedia_id, wish.num_features)
        row = self._connection.execute(
            "INSERT INTO jobs (state, folder, release, sae_id, neuronpedia_id, num_features, source, looks,"
            " submitted_at) VALUES ('queued', ?, ?, ?, ?, ?, ?, ?, ?)",
            (*names, wish.source, wish.looks, now),
        )
        return self._tell(cast("int", row.lastrowid))

    def _set(self, job_id: int, **values: Any) -> Job:
        with self._change():
            return self._update(job_id, **values)

    def _update(self, job_id: int, **values: Any) -> Job:
        columns = ", ".join(f"{name} = ?" for name in values)
        self._connection.execute(f"UPDATE jobs SET {columns} WHERE id = ?", (*values.values(), job_id))
        return self._tell(job_id)

    def _tell(self, job_id: int) -> Job:
        job = cast("Job", self.get(job_id))
        row = self._connection.execute("INSERT INTO events (job) VALUES (?)", (orjson.dumps(job.object).decode(),))
        self._connection.execute("DELETE FROM events WHERE id <= ?", (cast("int", row.lastrowid) - KEPT_EVENTS,))
        return job

    @contextmanager
    def _change(self) -> Iterator[None]:
        with sqlite_errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _jobs(self, where: str, parameters: Sequence[Any] = ()) -> Iterator[Job]:
        for row in self._query(f"SELECT {_COLUMNS} FROM jobs {where}", parameters):
            number, state, *wish, cancelling, submitted_at, started_at, ended_at, error, done, result = row
            counts = None if result is None else orjson.loads(result)
            times = (submitted_at, started_at, ended_at)
            yield Job(number, state, Wish(*wish), bool(cancelling), *times, error, done, counts)

    def _query(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        with sqlite_errors(self.path), closing(self._connection.execute(sql, parameters)) as cursor:
            yield from cursor.fetchall()


class Clash(Exception):
    """Another job of the same SAE is open."""

    def __init__(self, job: Job) -> None:
        super().__init__(str(job.id))
        self.job = job


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables in an empty file.

    Raises: StoreError for a database that is not a job table of this version.
    """
    (version,), (application_id,) = (
        connection.execute(f"PRAGMA {name}").fetchone() for name in ("user_version", "application_id")
    )
    if (version, application_id) == (SCHEMA_VERSION, APPLICATION_ID):
        return
    n_tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if version or application_id or n_tables:
        raise StoreError(
            f"{path}: not a job table of this saefetch (schema {version}); it was left as it is: move it away, and the"
            " service begins with an empty queue"
        )
    connection.executescript(
        f"BEGIN IMMEDIATE; {_SCHEMA}"
        f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
    )
