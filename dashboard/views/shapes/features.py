"""Features: one of them, where it fires, lists of them, and what differs between two tokens or documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict

from dashboard.views.shapes.base import Bools, Floats, Histogram, Reason, Source, Value


class Feature(TypedDict):
    """/api/features/<index>. `error` says why there is no label; `here` is null without an index.

    `max_activation` is Neuronpedia's, and in another scale than `here` where `is_one_scale` is false.
    """

    index: int
    label: str | None
    error: str | None
    explanations: list[ExplanationText]
    top_positive_tokens: Sequence[str]
    top_negative_tokens: Sequence[str]
    max_activation: float | None
    is_one_scale: bool
    density_neuronpedia: float | None
    neuronpedia: str | None
    here: FeatureHere | None


class ExplanationText(TypedDict):
    text: str
    type: str
    explainer: str


class FeatureHere(TypedDict):
    """The feature's figures in these documents: on how many tokens it fires, on which share of all."""

    count: int
    density: float
    max: float
    mean: float
    n_documents: int
    histogram: Histogram


class TopContexts(TypedDict):
    """/api/features/<index>/top"""

    total: int
    contexts: list[Context]


class Context(TypedDict):
    """A token on which a feature fires, `at` of the `tokens` around it, each with the feature's value there.

    `masked` are tokens that do not count, and have no value here; null where all of them count.
    """

    row: int
    document: int
    address: str
    position: int
    value: Value
    tokens: list[str]
    values: Floats
    masked: Bools | None
    at: int


class FeatureDocuments(TypedDict):
    """/api/features/<index>/documents"""

    total: int
    documents: list[FeatureDocument]


class FeatureDocument(TypedDict):
    """On how many tokens of a document a feature fires, and on which share of those that count.

    `sum` and `max` are of magnitudes; `strip` is the largest one in each of the equal parts of the document.
    """

    document: int
    address: str
    preview: str
    count: int
    sum: float
    max: float
    share: float
    strip: Floats


class Together(TypedDict):
    """/api/features/<index>/together: of `looked_at` tokens on which the feature fires, evenly spread."""

    total: int
    looked_at: int
    features: list[TogetherFeature]


class TogetherFeature(TypedDict):
    """On how many of these tokens it fires, and the log2 of how many times as often as on all tokens that count."""

    index: int
    label: str | None
    hits: int
    pmi: float


class FeatureList(TypedDict):
    """/api/search. `total` is null where only the best matches were looked at.

    `labels_here` is null, or during a download how many of `labels_of` features were searched: those that came so far.
    `a` and `b` are the selections by addresses, which mean the same documents when a shard arrives; null without.
    `did_you_mean` is the query with the words that no label has spelt like words that some label has; null for none.
    """

    total: int | None
    labels_here: int | None
    labels_of: int
    a: str | None
    b: str | None
    figures_of: Source | None
    did_you_mean: str | None
    features: list[FoundFeature]


class FoundFeature(TypedDict):
    """`marked` are pieces of the label, each with whether it matched the query.

    `here` is the sum of magnitudes in the document that was named, `here_count` on how many of its tokens it fires;
    `log_ratio` and `z` say how much more it fires in selection A than in B; null without.
    """

    index: int
    label: str | None
    marked: list[tuple[str, bool]] | None
    density: float | None
    max: float | None
    count: int | None
    here: float | None
    here_count: int | None
    log_ratio: float | None
    z: float | None


class Comparison(TypedDict):
    """/api/compare"""

    total: int
    a: Side
    b: Side
    features: list[FeatureDifference]


class Side(TypedDict):
    """A token or a document; `document` and `position` are a token's place, null for a document.

    `name` is what a request calls the side: `doc:<address>` or `row:<address>@<position>`, whatever shards arrive.
    `reason` says why a token does not count, null where it does.
    """

    kind: Literal["row", "doc", "docs"]
    id: int
    name: str
    address: str
    title: str
    document: int | None
    position: int | None
    reason: Reason | None


class FeatureDifference(TypedDict):
    index: int
    label: str | None
    a: float
    b: float
    difference: float
