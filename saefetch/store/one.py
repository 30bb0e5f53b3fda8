"""One feature in one statement, so that all of it is from the same moment, and fast enough to serve."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any, NamedTuple

from saefetch.store.records import API_ORIGIN, LIVE, Record, make_record


class Run(NamedTuple):
    """What `meta` says of the run that goes on or ended; None where it says nothing."""

    export_open: int | None
    been_whole: int | None
    source: str | None
    num_features: int | None
    explanation_types: str | None
    explanation_models: str | None

    @property
    def is_half(self) -> bool:
        """Whether the export is half read for the first time: what it brought may lack some explanations."""
        return bool(self.export_open) and not self.been_whole


@dataclass(frozen=True, slots=True)
class One:
    """A feature, and whether an answer of the API brought it."""

    record: Record
    by_api: bool
    run: Run


_RUN, _FEATURE, _EXPLANATION, _ABSENT = range(4)
_N_COLUMNS = 7, 6, 4, 3
# The columns of each kind stand as `make_record` takes them, with the kind in the place of the index.
_STATEMENT = f"""
SELECT {_RUN}, {", ".join(f"(SELECT value FROM meta WHERE name = '{name}')" for name in Run._fields)}
UNION ALL
SELECT {_FEATURE}, max_activation, frac_nonzero, positive, negative, origin, 0 FROM features WHERE idx = ?1 AND {LIVE}
UNION ALL
SELECT {_EXPLANATION}, text, type, model, 0, 0, 0 FROM explanations WHERE idx = ?1 AND {LIVE}
UNION ALL
SELECT {_ABSENT}, state, error, 0, 0, 0, 0 FROM absent WHERE idx = ?1
"""


def read_one(connection: sqlite3.Connection, index: int) -> One:
    """Raises: sqlite3.Error."""
    rows: tuple[list[tuple[Any, ...]], ...] = ([], [], [], [])
    for row in connection.execute(_STATEMENT, (index,)):
        rows[row[0]].append(row[: _N_COLUMNS[row[0]]])
    runs, features, explanations, absent = rows
    run = Run(*runs[0][1:])
    record = make_record(index, features, explanations, absent, bool(run.export_open))
    return One(record, any(row[5] == API_ORIGIN for row in features), run)
