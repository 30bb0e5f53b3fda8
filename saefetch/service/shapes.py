"""The JSON objects of the service, as its routes and its events have them."""

from __future__ import annotations

from typing import Literal, TypedDict

JobState = Literal["queued", "running", "done", "failed", "cancelled"]
STATES: tuple[JobState, ...] = ("queued", "running", "done", "failed", "cancelled")
ENDED: tuple[JobState, ...] = ("done", "failed", "cancelled")


class JobObject(TypedDict):
    """One job. Times are UTC, `2026-12-01T09:30:00Z`.

    `done` counts the features that are accounted for so far. The counts are null before they are known; those after
    `done` are those of `saefetch download --json`.
    """

    id: str
    state: JobState
    sae_release: str
    sae_id: str
    refresh: bool
    submitted_at: str
    started_at: str | None
    ended_at: str | None
    error: str | None
    done: int | None
    neuronpedia_id: str
    source: str
    total_features: int | None
    successful: int | None
    missing: int | None
    failed: int | None
    with_descriptions: int | None
    requests: int | None
    retries: int | None
    rate_limited: int | None
    bytes_received: int | None
    seconds: float | None
    resumed: int | None
    unexplained: dict[str, int] | None
    labels_path: str | None
    metadata_path: str | None


class Event(TypedDict):
    """One server-sent event. `reset` has no data: the events after it bring every job once."""

    id: int
    kind: Literal["job", "reset"]
    data: JobObject | None
