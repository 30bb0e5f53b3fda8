"""How a download ended, in numbers and words."""

from __future__ import annotations

from dataclasses import dataclass, field

from saefetch.errors import SaefetchError
from saefetch.names.identity import Target
from saefetch.net.request import Counters
from saefetch.sources import Plan
from saefetch.store.records import HERE, State
from saefetch.store.store import Store


@dataclass(slots=True)
class Summary:
    """The object that `--json` prints for one SAE."""

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
    unexplained: dict[str, int] = field(default_factory=lambda: {"api": 0, "export": 0})
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
        """Say that features failed, where nothing worse is said already.

        With a source other than the export, a feature without an explanation is accounted for when the API was asked.
        """
        if self.error or self.interrupted:
            return
        summary, problems = self.summary, []
        if summary.failed:
            problems.append(f"{summary.failed:,} features failed after all retries")
        unasked = summary.unexplained["export"]
        if unasked and summary.source != "export":
            problems.append(
                f"{unasked:,} features have no explanation in the export, and the API failed to say whether they have"
                " one"
            )
        if problems:
            self.exit_status = 1
            self.error = f"{'; '.join(problems)}; the same command retries just those"

    def take_counters(self, counters: Counters, seconds: float) -> None:
        summary = self.summary
        summary.requests, summary.retries = counters.requests, counters.retries
        summary.rate_limited, summary.bytes_received = counters.rate_limited, counters.bytes_received
        summary.seconds = round(seconds, 3)


def count_features(
    summary: Summary, store: Store, plan: Plan, fetched: bytearray, *, alone: bool, interrupted: bool
) -> None:
    """Fill in the counts from the store, for the features of the plan, earlier runs included.

    `fetched` marks the features of which this run got something that was not here. `alone`: only the export was asked,
    so the features that it lacks count as missing. `interrupted`: features that were not asked for yet have not failed.
    """
    scope = plan.scope
    every_state = store.states(plan.d_sae)
    states = every_state[scope.start : scope.stop]
    gone = {State.MISSING, State.NOT_EXPORTED} if alone else {State.MISSING}
    summary.total_features = len(scope)
    summary.successful = sum(map(states.count, HERE))
    summary.missing = sum(map(states.count, gone))
    summary.failed = summary.total_features - summary.successful - summary.missing
    if interrupted:
        summary.failed = states.count(State.FAILED)
    summary.unexplained = store.unexplained(scope, every_state)
    n_fetched = sum(fetched[scope.start : scope.stop])
    summary.resumed = max(0, summary.successful + summary.missing - n_fetched)
    if summary.labels_path and len(scope) == plan.d_sae:
        summary.with_descriptions = int(store.meta("with_descriptions", 0))
    else:
        described = store.described(scope.start, scope.stop)
        summary.with_descriptions = sum(every_state[index] in HERE for index in described)
