"""Rows that do not count, as answers have them: how many for each reason, and the reason of a row."""

from __future__ import annotations

from typing import cast

from dashboard.model.shards import Excluded as Counted
from dashboard.views.shapes.base import Excluded, Reason
from encoder.arrays import U8
from encoder.rows import REASONS

_NAMES: tuple[Reason | None, ...] = (None, *cast(tuple[Reason, ...], REASONS))


def excluded_rows(excluded: Counted) -> Excluded:
    return cast(Excluded, {name: excluded.by_reason.get(name, 0) for name in REASONS})


def reasons_of(reasons: U8) -> list[Reason | None]:
    """Return the reason of each row, None for a row that counts."""
    return [_NAMES[number] for number in reasons.tolist()]
