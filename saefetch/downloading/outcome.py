"""How a download ended, in numbers and words."""

from __future__ import annotations

from dataclasses import dataclass, field

from saefetch.errors import SaefetchError
from saefetch.names.identity import Target
from saefetch.net.request import Counters
from saefetch.sources import Plan
from saefetch.store.records import State
from saefetch.store.store import Store


@dataclass(slots=True)
class Summary:
    """What `--json` prints of one SAE."""

    neuronpedia_id: str
    source: str
    total_features: int = 0
    successful: int = 0
    missing: int = 0
    failed: int = 0
    with_descriptions: int = 0
    requests: int = 0
    retries: int = 0
    rate_limited: int = 0
    bytes_received: int = 0
    seconds: float = 0.0
    resumed: int = 0
    labels_path: str | None = None
    metadata_path: str | None = None


@dataclass(slots=True)
class Outcome:
    """How one job ended. `notes` are remarks for the user; `error` is None when every feature is accounted for."""

    target: Target
    summary: Summary
    exit_status: int = 0
    error: str | None = None
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False
    cause: SaefetchError | None = None

    @classmethod
    def not_begun(cls, target: Target, source: str) -> Outcome:
        """Make the outcome of a job that was interrupted before its turn came."""
        summary = Summary(target.neuronpedia_id, source, total_features=target.d_sae or 0)
        return cls(target, summary, interrupted=True)

    def fail(self, exc: SaefetchError) -> None:
        self.exit_status, self.error, self.cause = exc.exit_status, str(exc), exc

    def settle(self) -> None:
        """Say that features failed, where nothing worse is said already."""
        if self.summary.failed and not self.error and not self.interrupted:
            self.exit_status = 1
            failed = f"{self.summary.failed:,} features failed after all retries"
            self.error = f"{failed}; the same command retries just those"

    def take_counters(self, counters: Counters, seconds: float) -> None:
        summary = self.summary
        summary.requests, summary.retries = counters.requests, counters.retries
        summary.rate_limited, summary.bytes_received = counters.rate_limited, counters.bytes_received
        summary.seconds = round(seconds, 3)


def count_features(summary: Summary, store: Store, plan: Plan, fetched: bytearray, *, alone: bool) -> None:
    """Fill in the counts from the store, for the features of the plan, earlier runs included.

    `fetched` marks the features of which this run got something. `alone`: only the export was asked, so what it does
    not have counts as missing.
    """
    scope = plan.scope
    every_state = store.states(plan.d_sae)
    states = every_state[scope.start : scope.stop]
    gone = {State.MISSING, State.NOT_EXPORTED} if alone else {State.MISSING}
    summary.total_features = len(scope)
    summary.successful = sum(map(states.count, (State.GOT, State.ORPHAN)))
    summary.missing = sum(map(states.count, gone))
    summary.failed = summary.total_features - summary.successful - summary.missing
    n_fetched = sum(fetched[scope.start : scope.stop])
    summary.resumed = max(0, summary.successful + summary.missing - n_fetched)
    if summary.labels_path and len(scope) == plan.d_sae:
        summary.with_descriptions = int(store.meta("with_descriptions", 0))
    else:
        described = store.described(scope.start, scope.stop)
        summary.with_descriptions = sum(every_state[index] in (State.GOT, State.ORPHAN) for index in described)
