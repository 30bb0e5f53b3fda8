"""One feature in one statement, so that all of it is from the same moment, and fast enough to serve."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from saefetch.store.records import API_ORIGIN, Record, make_record
from saefetch.store.store import LIVE

_FEATURE, _EXPLANATION, _ABSENT, _META = range(4)
_N_COLUMNS = 6, 4, 3, 3
# The columns of each kind stand as `make_record` takes them, with the kind in the place of the index.
_STATEMENT = f"""
SELECT {_FEATURE}, max_activation, frac_nonzero, positive, negative, origin FROM features WHERE idx = ?1 AND {LIVE}
UNION ALL
SELECT {_EXPLANATION}, text, type, model, NULL, NULL FROM explanations WHERE idx = ?1 AND {LIVE}
UNION ALL
SELECT {_ABSENT}, state, error, NULL, NULL, NULL FROM absent WHERE idx = ?1
UNION ALL
SELECT {_META}, name, value, NULL, NULL, NULL FROM meta WHERE name IN (
    'export_open', 'been_whole', 'source', 'num_features', 'explanation_types', 'explanation_models')
"""


@dataclass(frozen=True, slots=True)
class One:
    """A feature, whether an answer of the API brought it, and what `meta` says of the run that goes on or ended."""

    record: Record
    by_api: bool
    meta: Mapping[str, Any]

    @property
    def is_half(self) -> bool:
        """Whether the export is half read for the first time: what it brought may lack some explanations."""
        return bool(self.meta.get("export_open")) and not self.meta.get("been_whole")


def read_one(connection: sqlite3.Connection, index: int) -> One:
    """Raises: sqlite3.Error."""
    rows: tuple[list[tuple[Any, ...]], ...] = ([], [], [], [])
    for row in connection.execute(_STATEMENT, (index,)):
        rows[row[0]].append(row[: _N_COLUMNS[row[0]]])
    features, explanations, absent, meta = rows
    told = {row[1]: row[2] for row in meta}
    record = make_record(index, features, explanations, absent, bool(told.get("export_open")))
    return One(record, any(row[5] == API_ORIGIN for row in features), told)
