"""How answers become rows: what a chunk replaces, what it adds, and which features it says are not there.

Each function works inside a transaction that its caller has begun.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain, count, islice
from operator import itemgetter
from typing import Any

import orjson

from saefetch.decode import ExplanationRow, FeatureRow
from saefetch.store.answers import Answers, ExportObject
from saefetch.store.records import API_ORIGIN, State

GROUP = 64
"""Rows inserted with one statement."""
_INTO_FEATURES = (
    "INSERT OR REPLACE INTO features (origin, epoch, idx, max_activation, frac_nonzero, positive, negative)"
)
_INTO_EXPLANATIONS = "INSERT OR IGNORE INTO explanations (origin, idx, type, model, text)"


def take_in(connection: sqlite3.Connection, answers: Answers, epoch: int) -> None:
    """Take in one chunk. An object of the export replaces its old version, and the API's rows of its features.

    An answer of the API replaces all that is known of its features.
    """
    rows = answers.rows
    if answers.export_object is not None:
        origin = _new_origin(connection, answers.export_object)
        _forget(connection, "features", {row[0] for row in rows.features}, f"origin = {API_ORIGIN}")
        _forget(connection, "explanations", {row[0] for row in rows.explanations}, f"origin = {API_ORIGIN}")
    else:
        origin = API_ORIGIN
        gone = {row[0] for row in rows.features} | set(answers.missing)
        for table in ("features", "explanations", "absent"):
            _forget(connection, table, gone)
    _insert(connection, _INTO_FEATURES, (origin, epoch), rows.features)
    _insert(connection, _INTO_EXPLANATIONS, (origin,), rows.explanations)
    mark_absent(connection, State.MISSING, epoch, ((index, "not on Neuronpedia") for index in answers.missing))
    mark_absent(connection, State.FAILED, epoch, answers.failed)


def _new_origin(connection: sqlite3.Connection, export_object: ExportObject) -> int:
    connection.execute("DELETE FROM objects WHERE key = ?", (export_object.key,))
    # max(id)+1 could give a dead row's origin back to life, so ids come from a counter that only rises.
    origin = connection.execute(
        "SELECT coalesce((SELECT value FROM meta WHERE name = 'last_origin'), 0) + 1"
    ).fetchone()[0]
    set_meta(connection, {"last_origin": origin})
    connection.execute("INSERT INTO objects VALUES (?, ?, ?)", (origin, export_object.key, export_object.etag))
    return int(origin)


def _forget(connection: sqlite3.Connection, table: str, indices: Iterable[int], where: str = "true") -> None:
    listed = orjson.dumps(sorted(indices)).decode()
    connection.execute(f"DELETE FROM {table} WHERE idx IN (SELECT value FROM json_each(?)) AND {where}", (listed,))


def _insert(
    connection: sqlite3.Connection, into: str, shared: tuple[int, ...], rows: Sequence[FeatureRow | ExplanationRow]
) -> None:
    """Insert `rows`, each with the values that are `shared` by all before its own.

    Each step of a statement gives up the interpreter and then waits for it behind the threads that unpack and parse. So
    many rows go in with one statement; and in the table's order, which touches each page once.
    """
    in_order = sorted(rows, key=itemgetter(0))
    for start in range(0, len(in_order), GROUP):
        group = in_order[start : start + GROUP]
        values = _values(len(shared), len(group[0]), len(group))
        connection.execute(f"{into} VALUES {values}", (*shared, *chain.from_iterable(group)))


@cache
def _values(n_shared: int, n_own: int, n_rows: int) -> str:
    """Return `(?1,?2,?3), (?1,?4,?5), ...`: `n_rows` rows, each with the `n_shared` first parameters before its own."""
    shared = [f"?{number}" for number in range(1, n_shared + 1)]
    own = (f"?{number}" for number in count(n_shared + 1))
    return ",".join(f"({','.join([*shared, *islice(own, n_own)])})" for _ in range(n_rows))


def mark_absent(connection: sqlite3.Connection, state: State, epoch: int, reasons: Iterable[tuple[int, str]]) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO absent VALUES (?, ?, ?, ?)", ((index, state, epoch, error) for index, error in reasons)
    )


def set_meta(connection: sqlite3.Connection, values: dict[str, Any]) -> None:
    connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())


def changed(connection: sqlite3.Connection, downloaded_at: str | None) -> None:
    connection.execute("INSERT INTO meta VALUES ('generation', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1")
    if downloaded_at is not None:
        set_meta(connection, {"downloaded_at": downloaded_at})
