"""The JSON objects that the service takes and gives, but for a job's own, which is in `saefetch.service.shapes`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from saefetch.names.identity import MAX_FEATURES
from saefetch.service.shapes import JobObject

Width = Annotated[int, ("minimum", 1), ("maximum", MAX_FEATURES)]
Digits = Annotated[str, ("pattern", "^[0-9]+$")]
SourceName = Literal["auto", "export", "batch", "feature"]


class NewJob(TypedDict):
    """What `POST /v1/jobs` takes. `sae_id` may be a pattern; what is left out is as in `saefetch download`."""

    sae_release: NotRequired[str | None]
    sae_id: NotRequired[str | None]
    neuronpedia_id: NotRequired[str | None]
    num_features: NotRequired[Width | None]
    source: NotRequired[SourceName | None]
    refresh: NotRequired[bool | None]


class Nothing(TypedDict):
    """An empty object. An empty body is taken for it."""


class Jobs(TypedDict):
    jobs: list[JobObject]


class JobsPage(TypedDict):
    """`next` is the `cursor` that asks for the rest; null where this was the last page."""

    jobs: list[JobObject]
    next: str | None


class HeldSae(TypedDict):
    """One SAE of the data dir. `failed` counts the features that failed, not those that nobody asked for yet."""

    sae_release: str
    sae_id: str
    neuronpedia_id: str
    num_features: int
    successful: int
    missing: int
    failed: int
    with_descriptions: int
    downloaded_at: str | None
    state: Literal["complete", "partial"]


class HeldSaes(TypedDict):
    saes: list[HeldSae]


class KnownSae(TypedDict):
    """One SAE of the registry; `num_features` is null where only the server knows."""

    sae_release: str
    sae_id: str
    neuronpedia_id: str
    num_features: int | None


class KnownSaes(TypedDict):
    saes: list[KnownSae]


class SearchHit(TypedDict):
    """`sae` is RELEASE/FOLDER, as in the address of a feature."""

    index: int
    description: str | None
    sae: str


class SearchHits(TypedDict):
    hits: list[SearchHit]


class FeatureObject(TypedDict):
    """`index`, and what `feature_labels.json` says of the feature."""

    index: int
    description: str | None
    top_positive_tokens: list[str]
    top_negative_tokens: list[str]
    max_activation: float | None
    has_explanations: bool
    all_descriptions: NotRequired[list[str]]
    error: NotRequired[str]


class Health(TypedDict):
    status: Literal["ok"]


class Readiness(TypedDict):
    """`store` and `upstream` say "ok", or what is wrong."""

    ready: bool
    store: str
    upstream: str


class ProblemDocument(TypedDict):
    """RFC 9457. `parameter` names what of the address or the headers is meant, `job_id` the job that is in the way.

    `error` is there for clients of Neuronpedia's, in whose answers it holds the words.
    """

    type: str
    title: str
    status: int
    detail: str
    instance: str
    parameter: NotRequired[str]
    job_id: NotRequired[str]
    error: NotRequired[str]


class MirrorExplanation(TypedDict):
    """One explanation inside a feature, with the fields that Neuronpedia's own Python client wants besides."""

    modelId: str
    layer: str
    source: str
    index: str
    description: str
    explanationModelName: str | None
    typeName: str | None


class MirrorFeature(TypedDict):
    """A feature as Neuronpedia gives it, as far as the store holds it. `source` is in the answer to GET only."""

    modelId: str
    layer: str
    index: str
    sourceSetName: str
    maxActApprox: float | None
    neg_str: list[str]
    pos_str: list[str]
    frac_nonzero: float | None
    explanations: list[MirrorExplanation]
    activations: list[Any]
    source: NotRequired[MirrorSource]


class MirrorConfig(TypedDict):
    d_sae: int


class MirrorSource(TypedDict):
    id: str
    modelId: str
    saelensConfig: MirrorConfig


class MirrorRequest(TypedDict):
    """One element of what `POST /api/features` takes."""

    modelId: str
    layer: str
    index: int | Digits
    maxActsToReturn: NotRequired[int | None]


class ExportedExplanation(TypedDict):
    modelId: str
    layer: str
    index: str
    description: str
    typeName: str | None
    explanationModelName: str | None
