"""What a row of the job table says: what is wished, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

from saefetch.downloading.outcome import Summary
from saefetch.names.identity import Target
from saefetch.service.shapes import JobObject, JobState

_UNKNOWN: dict[str, None] = dict.fromkeys(Summary.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a job is to do. `looks`: `missing` features only, `all` anew, or for what has `changed` in the export."""

    folder: str
    release: str
    sae_id: str
    neuronpedia_id: str
    num_features: int | None
    source: str
    looks: str = "missing"

    def covers(self, other: Wish) -> bool:
        """Whether a job of this wish does all that the other wishes, so that one job is enough for both."""
        return self == other or (self.looks == "changed" and replace(self, looks="missing") == other)


@dataclass(frozen=True, slots=True)
class Job:
    """One row. `result` holds the keys of `saefetch download --json` as far as they are known."""

    id: int
    state: JobState
    wish: Wish
    cancelling: bool
    submitted_at: str
    started_at: str | None
    ended_at: str | None
    error: str | None
    done: int | None
    result: dict[str, Any] | None

    @property
    def target(self) -> Target:
        wish = self.wish
        return Target(wish.release, wish.sae_id, wish.neuronpedia_id, wish.num_features)

    @property
    def object(self) -> JobObject:
        """The job as JSON has it."""
        wish = self.wish
        counts = _UNKNOWN | (self.result or {}) | {"neuronpedia_id": wish.neuronpedia_id, "source": wish.source}
        job = {
            "id": str(self.id),
            "state": self.state,
            "sae_release": wish.release,
            "sae_id": wish.sae_id,
            "refresh": wish.looks != "missing",
            "submitted_at": self.submitted_at,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "error": self.error,
            "done": self.done,
        }
        return cast("JobObject", job | counts)
