"""The answers' types: what each view returns, and what a page may read. A test holds the real answers against them.

Lists of numbers are numpy arrays in Python and lists in JSON. A number that is NaN in Python is null in JSON, so
whatever may be unknown is typed with None. In the pages these types go by the same names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypedDict

if TYPE_CHECKING:
    import numpy as np

    from encoder.arrays import AnyArray

    Value = float | np.float32
    Ints = Sequence[int] | AnyArray
    Floats = Sequence[float] | AnyArray
    Bools = Sequence[bool] | AnyArray
else:
    Value, Ints, Floats, Bools = float, list[int], list[float], list[bool]

Source = Literal["here", "neuronpedia"]
"""Where figures of features come from: from these documents, or from Neuronpedia."""


class Summary(TypedDict):
    """/api/summary: what there is, and the commands that bring what there is not."""

    version: str
    features: FeaturesSummary | None
    labels: LabelsSummary | None
    refusal: str | None
    hints: list[Hint]
    neuronpedia: str | None
    static: bool
    part: PartSummary | None


class FeaturesSummary(TypedDict):
    """`is_one_scale` says whether values here may be compared with Neuronpedia's.

    They may not where the SAE's decoder rows have norms other than 1: Neuronpedia multiplies its values by the norms.
    """

    folder: str
    rows: int
    excluded: Excluded
    d_sae: int
    nnz: int
    n_shards: int
    n_documents: int
    mean_l0: float
    has_text: bool
    is_one_scale: bool
    sae: SaeNames
    index: IndexSummary


class Excluded(TypedDict):
    """How many rows do not count, by reason: the producer's mask, their token's id, their place in the document, their
    norm. Such rows are shown, and no figure is made of them: not L0, not a density, not what is strongest.
    """

    mask: int
    token: int
    first: int
    norm: int


Reason = Literal["mask", "token", "first", "norm"]


class SaeNames(TypedDict):
    release: str | None
    id: str | None
    neuronpedia_id: str | None
    path: str | None
    weights_sha256: str


class IndexSummary(TypedDict):
    """The figures of an `older` index count rows that do not count."""

    state: Literal["ready", "missing", "stale", "older"]
    command: str


class LabelsSummary(TypedDict):
    release: str
    id: str
    neuronpedia_id: str
    n_features: int
    with_descriptions: int
    missing: int
    failed: int
    complete: bool


class Hint(TypedDict):
    what: str
    command: str


class PartSummary(TypedDict):
    """In an export: how many of how many documents there are."""

    n_documents: int
    of_documents: int


class DocumentList(TypedDict):
    """/api/documents"""

    total: int
    documents: list[DocumentSummary]


class DocumentSummary(TypedDict):
    """`number` is what the shard calls the document, null where the shard gives no numbers.

    `excluded` of its rows do not count.
    """

    id: int
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
    not count, null where they do, or for a piece that has none; `previous` and `next` are documents.
    """

    document: int
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
    previous: int | None
    next: int | None
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


class Row(TypedDict):
    """/api/rows/<number>: one token."""

    row: int
    document: int
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


class Histogram(TypedDict):
    """`counts` [n] lie between `edges` [n + 1]."""

    edges: Floats
    counts: Ints


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
    position: int
    value: Value
    tokens: list[str]
    values: Floats
    masked: Bools | None
    at: int


class FeatureList(TypedDict):
    """/api/search. `total` is null where only the best matches were looked at."""

    total: int | None
    figures_of: Source | None
    features: list[FoundFeature]


class FoundFeature(TypedDict):
    """`marked` are pieces of the label, each with whether it matched the query. `here` is the sum of magnitudes in the
    document that was named, `log_ratio` and `z` say how much more it fires in selection A than in B; null without.
    """

    index: int
    label: str | None
    marked: list[tuple[str, bool]] | None
    density: float | None
    max: float | None
    count: int | None
    here: float | None
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

    `reason` says why a token does not count, null where it does.
    """

    kind: Literal["row", "doc"]
    id: int
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


class Health(TypedDict):
    """/api/health"""

    total: int
    shards: list[ShardHealth]
    dead_features: int | None
    downloads: list[Download]
    queue: QueueHealth | None


class ShardHealth(TypedDict):
    """`max_l0`, `l0_histogram` and `dead_features` are null until they were counted.

    `explained_variance_of_all` has rows of extreme norm in it, which `explained_variance` leaves out.
    """

    name: str
    rows: int
    excluded: Excluded
    nnz: int
    mean_l0: float
    max_l0: int | None
    l0_histogram: Histogram | None
    explained_variance: float | None
    explained_variance_of_all: float | None
    cosine: float | None
    dead_features: int | None
    warnings: list[str]
    notes: list[str]
    sae: str
    dtype_read: str
    values: str


class Download(TypedDict):
    """A download of labels; `command` goes on with it. `error` says why its store cannot be read."""

    release: str
    id: str
    neuronpedia_id: str
    total: int
    successful: int
    missing: int
    failed: int
    remaining: int
    state: Literal["running", "complete", "partial", "unreadable"]
    error: str | None
    command: str


class QueueHealth(TypedDict):
    folder: str
    ready: int
    claimed: list[Claim]
    done: int
    failed: list[FailedJob]
    error: str | None
    command: str


class Claim(TypedDict):
    job: str
    worker: str
    attempt: int
    age_s: float


class FailedJob(TypedDict):
    job: str
    error: str
