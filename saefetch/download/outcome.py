"""How a download ended, in numbers and words."""

from __future__ import annotations

from dataclasses import dataclass, field

from saefetch.names.identity import Target
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


def count_features(
    summary: Summary, store: Store, n_features: int, scope: range, fetched: bytearray, *, alone: bool
) -> None:
    """Fill in the counts from the store, for the features in `scope`, earlier runs included.

    `fetched` marks the features of which this run got something. `alone`: only the export was asked, so what it does
    not have counts as missing.
    """
    every_state = store.states(n_features)
    states = every_state[scope.start : scope.stop]
    gone = {State.MISSING, State.NOT_EXPORTED} if alone else {State.MISSING}
    summary.total_features = len(scope)
    summary.successful = sum(map(states.count, (State.GOT, State.ORPHAN)))
    summary.missing = sum(map(states.count, gone))
    summary.failed = summary.total_features - summary.successful - summary.missing
    n_fetched = sum(map(bool, fetched[scope.start : scope.stop]))
    summary.resumed = max(0, summary.successful + summary.missing - n_fetched)
    if summary.labels_path and len(scope) == n_features:
        summary.with_descriptions = int(store.meta("with_descriptions", 0))
    else:
        described = store.described(scope.start, scope.stop)
        summary.with_descriptions = sum(every_state[index] in (State.GOT, State.ORPHAN) for index in described)
