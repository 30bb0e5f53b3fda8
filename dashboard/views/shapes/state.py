"""What there is and how it is: the summary, and the health of shards, downloads and the queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict

from dashboard.views.shapes.base import Excluded, Histogram


class Summary(TypedDict):
    """/api/summary: what there is, and the commands that bring what there is not. `warned`: shards with a warning.

    `sae` is what this SAE is called among all `saes`; a request names another with the parameter sae.
    """

    version: str
    features: FeaturesSummary | None
    labels: LabelsSummary | None
    refusal: str | None
    hints: list[Hint]
    neuronpedia: str | None
    warned: int
    sae: str
    saes: Sequence[str]
    static: bool
    jobs: bool
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


class SaeNames(TypedDict):
    release: str | None
    id: str | None
    neuronpedia_id: str | None
    path: str | None
    weights_sha256: str


class IndexSummary(TypedDict):
    """The figures of an `older` index count rows that do not count. With `has_words` words are found in the texts."""

    has_words: bool
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
    """`command` brings what is missing; null where it is at work already."""

    what: str
    command: str | None


class PartSummary(TypedDict):
    """In an export: how many of how many documents there are."""

    n_documents: int
    of_documents: int


class Health(TypedDict):
    """/api/health"""

    total: int
    verdict: Verdict | None
    shards: list[ShardHealth]
    densities: Densities | None
    downloads: list[Download]
    queue: QueueHealth | None


class Verdict(TypedDict):
    """How many shards are fine, look like another SAE's, have another warning; how many of all rows do not count."""

    fine: int
    another_sae: int
    other_warnings: int
    rows: int
    excluded: Excluded


class Densities(TypedDict):
    """How many features fire on which share of the tokens that count. The first bin holds the features that never fire.

    `dense` fire on more than the share `dense_from`.
    """

    dead: int
    dense: int
    dense_from: float
    histogram: Histogram


class ShardHealth(TypedDict):
    """The worst comes first. `max_l0` and `l0_histogram` are null until they were counted.

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
    warnings: list[str]
    notes: list[str]
    sae: str
    dtype_read: str
    values: str


class Download(TypedDict):
    """A download of labels; `command` goes on with it. `error` says why its store cannot be read.

    `per_s` is how many features come in a second, `left_s` how long it will take; null where it does not run.
    """

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
    per_s: float | None
    left_s: float | None


class TakenOut(TypedDict):
    """/api/figure: a figure or a table as a file of this name and type."""

    name: str
    type: str
    text: str


class QueueHealth(TypedDict):
    """`command` is null where a worker is at work, or nothing is to be done."""

    folder: str
    is_there: bool
    ready: int
    claimed: list[Claim]
    done: int
    failed: list[FailedJob]
    error: str | None
    command: str | None
    per_s: float | None
    left_s: float | None


class Claim(TypedDict):
    job: str
    worker: str
    attempt: int
    age_s: float


class FailedJob(TypedDict):
    job: str
    error: str
