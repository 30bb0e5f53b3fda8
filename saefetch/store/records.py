"""What is known of a feature, and one feature put together from the store's tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from saefetch.explanations import Explanation

API_ORIGIN = 0
LIVE = "+origin IN (SELECT id FROM objects)"
"""The condition for rows that are not dead. The plus keeps SQLite from looking up each feature under each origin."""


class State(IntEnum):
    """What is known of a feature."""

    UNKNOWN = 0  # never asked for, or asked for in a run that did not end
    GOT = 1
    ORPHAN = 2  # the export has an explanation of it, but not the feature itself
    MISSING = 3  # the API says that it does not exist
    NOT_EXPORTED = 4  # the export does not have it; only the API can tell whether it exists
    FAILED = 5
    UNEXPLAINED = 6  # the export has it without an explanation; only the API can tell whether it has one


HERE = (State.GOT, State.ORPHAN, State.UNEXPLAINED)
"""What counts as successful."""


@dataclass(slots=True)
class Record:
    """One feature as stored. `positive` and `negative` are JSON arrays of strings; `error` is set when it is absent."""

    index: int
    state: State
    explanations: list[Explanation] = field(default_factory=list)
    max_activation: float | None = None
    frac_nonzero: float | None = None
    positive: bytes = b"[]"
    negative: bytes = b"[]"
    error: str | None = None


def make_record(
    index: int,
    features: Sequence[tuple[Any, ...]],
    explanations: Sequence[tuple[Any, ...]],
    absent: Sequence[tuple[Any, ...]],
    half: bool,
) -> Record:
    """Make one feature's record of its rows in the three tables.

    `half`: the export is half read, so a row of the export is no substitute for an answer that the API owes.
    """
    if features and not (half and absent and absent[0][1] == State.FAILED):
        _, max_activation, frac_nonzero, positive, negative, origin = (
            features[0] if len(features) == 1 else min(features, key=_precedence)
        )
        texts = [Explanation(text, kind, model) for _, text, kind, model in explanations]
        state = State.GOT if texts or origin == API_ORIGIN else State.UNEXPLAINED
        return Record(index, state, texts, max_activation, frac_nonzero, positive, negative)
    if absent and (absent[0][1] != State.NOT_EXPORTED or not explanations):
        return Record(index, State(absent[0][1]), error=absent[0][2])
    if explanations:
        return Record(index, State.ORPHAN, [Explanation(text, kind, model) for _, text, kind, model in explanations])
    return Record(index, State.UNKNOWN, error="not downloaded yet")


def _precedence(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Sort the rows of one feature: the API's row first, then the export's rows in an order that never varies."""
    _, max_activation, frac_nonzero, positive, negative, origin = row
    nulls = max_activation is None, frac_nonzero is None
    return origin != API_ORIGIN, positive, negative, max_activation or 0, frac_nonzero or 0, nulls


_NO_ROW: tuple[Any, ...] = (None,)


class Merge:
    """Hands out the rows of an ordered query by their first column, for indices asked for in ascending order."""

    def __init__(self, rows: Iterator[tuple[Any, ...]]) -> None:
        self._rows = rows
        self._next = next(rows, _NO_ROW)

    def take(self, index: int) -> Sequence[tuple[Any, ...]]:
        if self._next[0] != index:
            return ()
        taken = [self._next]
        for row in self._rows:
            if row[0] != index:
                self._next = row
                return taken
            taken.append(row)
        self._next = _NO_ROW
        return taken
