"""Groups of documents, and the plot of a contrast."""

from __future__ import annotations

from typing import TypedDict

from dashboard.views.shapes.base import Floats, Ints


class GroupList(TypedDict):
    """/api/groups. `error` says why groups.json cannot be read, `overlap` that `a` and `b` have documents in common."""

    groups: list[Group]
    error: str | None
    a: Selected | None
    b: Selected | None
    overlap: str | None


class Group(TypedDict):
    name: str
    n_documents: int


class Selected(TypedDict):
    """How many documents a selection has, null for the rest; `error` says why it cannot be read."""

    n_documents: int | None
    error: str | None


class ContrastPlot(TypedDict):
    """/api/contrast: features as columns, the surest differences first; `labels` of the most extreme, by feature."""

    total: int
    index: Ints
    log_ratio: Floats
    z: Floats
    labels: list[tuple[int, str | None]]
