"""Every address of the service, once: the routes, the checks of what is given and `/openapi.json` are made from it.

Addresses have one of three areas:

    v1        the service's own; what is not declared is refused
    probe     for load balancers and Prometheus, which may add parameters of their own
    mirror    as Neuronpedia's; what is not declared is left unheeded, as there
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from saefetch.service.http import shapes
from saefetch.service.shapes import STATES, JobObject

MAX_ID = (1 << 63) - 1
PLAIN, STREAM = "text/plain", "text/event-stream"
Kind = Literal["text", "number"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a path, a query or the headers hold. A text matches the whole `pattern`, a number is within bounds."""

    name: str
    place: Literal["path", "query", "header"]
    about: str
    kind: Kind = "text"
    pattern: str = r"[^\x00-\x1f\x7f]{0,1000}"
    least: int = 0
    most: int = MAX_ID
    default: Any = None
    required: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one address. `answers` maps each status of success to a TypedDict, or to a media type.

    `errors` are those that only this address has; `COMMON_ERRORS` come to each.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    name: str
    about: str
    answers: Mapping[int, Any]
    errors: tuple[int, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    body: Any = None
    area: Literal["v1", "probe", "mirror"] = "v1"
    is_open: bool = False
    """Whether it is answered without the token."""
    by_password: bool = False
    """Whether the token is also taken as the password of basic authentication."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of the answers, with what they say."""


COMMON_ERRORS = (400, 401, 405, 417, 421, 431, 500)
BODY_ERRORS = (403, 408, 413, 415, 422)

_ID = Parameter("id", "path", "A job.", pattern=r"[0-9A-Za-z_-]{1,64}", required=True)
_NAME = r"[A-Za-z0-9_](?!.*\.\.)[A-Za-z0-9._+=,@~-]{0,200}"
"""A folder below the data dir: of the same letters as `saefetch.names.identity` makes it of."""
_WORDS = r"[^\x00-\x1f\x7f]{1,1000}"
_LIMIT = Parameter("limit", "query", "How many at most.", "number", least=1, most=1000, default=100)
_NEURONPEDIA = (
    Parameter("model", "path", "Neuronpedia's id of the model.", pattern=".*", required=True),
    Parameter("source", "path", "Neuronpedia's id of the source.", pattern=".*", required=True),
)

TABLE: tuple[Route, ...] = (
    Route(
        "POST",
        "/v1/jobs",
        "add_jobs",
        "Queue a job for each SAE that the body means. The same request again, before its job has ended, is that job.",
        {202: shapes.Jobs, 200: shapes.Jobs},
        (*BODY_ERRORS, 409, 503),
        body=shapes.NewJob,
        headers={"Location": "The first of the jobs."},
    ),
    Route(
        "GET",
        "/v1/jobs",
        "list_jobs",
        "The jobs, the latest first.",
        {200: shapes.JobsPage},
        (422,),
        (
            Parameter("state", "query", "Only jobs of this state.", pattern="|".join(STATES)),
            _LIMIT,
            Parameter("cursor", "query", "The value of `next` of the page before.", pattern=r"[0-9]{1,18}"),
        ),
    ),
    Route("GET", "/v1/jobs/{id}", "show_job", "One job.", {200: JobObject}, (404, 422), (_ID,)),
    Route(
        "DELETE",
        "/v1/jobs/{id}",
        "cancel_job",
        "Cancel a job. What was fetched stays.",
        {200: JobObject},
        (403, 404, 409, 422),
        (_ID,),
    ),
    Route(
        "POST",
        "/v1/jobs/{id}/retry",
        "retry_job",
        "Queue a job again that failed or was cancelled. It keeps its id.",
        {200: JobObject},
        (*BODY_ERRORS, 404, 409, 503),
        (_ID,),
        body=shapes.Nothing,
    ),
    Route(
        "GET",
        "/v1/events",
        "events",
        "Server-sent events: `event: job` with the job object at each change, `event: reset` where events were lost;"
        " then every job follows once. A comment every 15 s says that the connection lives.",
        {200: STREAM},
        (422,),
        (Parameter("Last-Event-ID", "header", "Go on after this event.", "number"),),
    ),
    Route("GET", "/v1/saes", "saes", "What the data dir holds.", {200: shapes.HeldSaes}, (422, 503)),
    Route(
        "GET",
        "/v1/registry",
        "registry",
        "The SAEs that can be had by name: those that every word of `q` fits, as `saefetch list` does.",
        {200: shapes.KnownSaes},
        (422,),
        (Parameter("q", "query", "Words, or patterns with * and ?.", default=""),),
    ),
    Route(
        "GET",
        "/v1/search",
        "search",
        "Search the labels, of one SAE or of all that are here, the best first.",
        {200: shapes.SearchHits},
        (404, 422, 503),
        (
            Parameter("q", "query", 'Words, beginnings such as dog*, or a "phrase".', pattern=_WORDS, required=True),
            Parameter("sae", "query", "RELEASE/FOLDER.", pattern=f"{_NAME}/{_NAME}"),
            Parameter("limit", "query", "How many at most.", "number", least=1, most=1000, default=10),
        ),
    ),
    Route(
        "GET",
        "/v1/saes/{release}/{folder}/features/{index}",
        "feature",
        "One feature, with what feature_labels.json says of it.",
        {200: shapes.FeatureObject},
        (404, 422, 503),
        (
            Parameter("release", "path", "The SAE's first folder.", pattern=_NAME, required=True),
            Parameter("folder", "path", "The SAE's id, with / as _.", pattern=_NAME, required=True),
            Parameter("index", "path", "The feature.", "number", most=(1 << 26) - 1, required=True),
        ),
    ),
    Route("GET", "/healthz", "healthz", "The service lives.", {200: shapes.Health}, area="probe", is_open=True),
    Route(
        "GET",
        "/readyz",
        "readyz",
        "Whether jobs can be worked off at the moment.",
        {200: shapes.Readiness, 503: shapes.Readiness},
        area="probe",
        by_password=True,
    ),
    Route("GET", "/metrics", "metrics", "Figures for Prometheus.", {200: PLAIN}, area="probe", by_password=True),
    Route("GET", "/openapi.json", "openapi", "This document.", {200: dict[str, Any]}, (422,)),
    Route(
        "GET",
        "/api/feature/{model}/{source}/{index}",
        "mirror_feature",
        "A feature as Neuronpedia gives it. 404 is only what Neuronpedia itself says does not exist; 503 is what is not"
        " here yet.",
        {200: shapes.MirrorFeature},
        (404, 503),
        (*_NEURONPEDIA, Parameter("index", "path", "The feature.", pattern=".*", required=True)),
        area="mirror",
    ),
    Route(
        "POST",
        "/api/features",
        "mirror_features",
        "Many features as Neuronpedia gives them. Left out is only what Neuronpedia itself says does not exist; where"
        " one of the features is not here yet, the answer is 503.",
        {200: list[shapes.MirrorFeature]},
        (403, 404, 408, 413, 415, 503),
        body=list[shapes.MirrorRequest],
        area="mirror",
    ),
    Route(
        "GET",
        "/api/explanation/export",
        "mirror_export",
        "Every explanation of an SAE, as Neuronpedia once gave them.",
        {200: list[shapes.ExportedExplanation]},
        (404, 422, 503),
        (
            Parameter("modelId", "query", "Neuronpedia's id of the model.", required=True),
            Parameter("saeId", "query", "Neuronpedia's id of the source.", required=True),
        ),
        area="mirror",
    ),
)
