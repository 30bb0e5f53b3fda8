"""Documents, their tokens, and one token with all features that fire on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from dashboard.views.shapes.base import Bools, Floats, Ints, Reason, Value


class DocumentList(TypedDict):
    """/api/documents"""

    total: int
    documents: list[DocumentSummary]


class DocumentSummary(TypedDict):
    """`number` is what the shard calls the document, null where the shard gives no numbers.

    A shard that arrives may move `id` and `first_row`; `address` stays. `excluded` of its rows do not count.
    """

    id: int
    address: str
    shard: str
    number: int | None
    rows: int
    excluded: int
    first_row: int
    preview: str
    mean_l0: float
    sections: list[Section]


class Section(TypedDict):
    """The tokens [start, stop) of a document: its prompt, its response."""

    name: str
    start: int
    stop: int


class DocumentTokens(TypedDict):
    """/api/documents/<number>/tokens: the tokens [start, stop) of `total`, and the value of each for the colour.

    `excluded` of the `total` tokens do not count.

    Magnitudes of `values` up to `floor` have no colour, those from `scale` on the full one. `reasons` say why tokens do
    not count, null where they do, or for a piece that has none; `previous` and `next` are addresses of documents.
    """

    document: int
    address: str
    shard: str
    first_row: int
    total: int
    excluded: int
    start: int
    stop: int
    tokens: list[str]
    token_ids: Ints | None
    masked: Bools | None
    reasons: list[Reason | None] | None
    sections: list[Section]
    previous: str | None
    next: str | None
    colour: str
    values: Floats
    floor: float
    scale: float


class DocumentFeatures(TypedDict):
    """/api/documents/<number>/features"""

    total: int
    features: list[DocumentFeature]


class DocumentFeature(TypedDict):
    """On how many tokens the feature fires, the sum of the magnitudes there, the value of the largest magnitude."""

    index: int
    label: str | None
    count: int
    sum: float
    max: float


class Lanes(TypedDict):
    """/api/documents/<number>/lanes"""

    bins: int
    lanes: list[Lane]


class Lane(TypedDict):
    """The value of the largest magnitude in each of the equal parts of the document, 0 for none, and at which token.

    `max` is the largest magnitude in the document.
    """

    feature: int
    max: Value
    values: Floats
    at: Ints


class Row(TypedDict):
    """/api/rows/<number>, and /api/documents/<address>/row?at=<position>: one token."""

    row: int
    document: int
    address: str
    position: int
    shard: str
    token: str
    token_id: int | None
    section: str | None
    masked: bool
    reason: Reason | None
    l0: int
    active: Active


class Active(TypedDict):
    """The features that fire on a token, the strongest first, as columns.

    `share` is the value as a share of the largest on Neuronpedia, `share_here` of the largest in these documents; null
    where the largest is not known, or is in another scale.
    """

    index: Ints
    value: Floats
    label: list[str | None]
    share: Sequence[float | None]
    share_here: Sequence[float | None] | Floats
