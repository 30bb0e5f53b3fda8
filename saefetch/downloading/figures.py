"""The words of a download's progress display: requests, retries, quota, and until when everything pauses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from saefetch.names.identity import Target
from saefetch.net.request import Counters
from saefetch.terminal.board import Plan

DOWN = "waiting for the server, which fails or is being restarted; Ctrl-C is safe"


class Pacer(Protocol):
    """The part of the transport that is shown."""

    @property
    def counters(self) -> Counters: ...

    @property
    def paused_s(self) -> float | None: ...

    @property
    def quota_left(self) -> int | None: ...


def plan_of(targets: Sequence[Target], scope: range | None = None) -> Plan:
    """Return what is known beforehand. `scope` are the features of each target that are asked for."""
    widths = (range(target.d_sae or 0) for target in targets)
    n_features = sum(len(width[scope.start : scope.stop] if scope else width) for width in widths)
    return Plan("features", "SAEs", len(targets), n_features, "asking the server", "writing the files")


def begin_line(n_features: int, n_done: int) -> str:
    """Say how much of an SAE there is to do."""
    return f"{n_features:,} features" + (f", {n_done:,} already here" if n_done else "")


def words_of(transport: Pacer) -> list[str]:
    """Return the transport's figures."""
    counters = transport.counters
    words = [f"{counters.requests:,} requests"]
    words.append(f"{counters.retries:,} {'retry' if counters.retries == 1 else 'retries'}")
    return words if transport.quota_left is None else [*words, f"quota {transport.quota_left:,} left"]


class PauseNews:
    """Says until when everything pauses, in the same words until the pause grows."""

    def __init__(self, wall: Callable[[], datetime] = datetime.now) -> None:
        self._wall = wall
        self._until: datetime | None = None

    def hear(self, paused_s: float | None) -> str:
        """Return the line to show; empty where there is no pause."""
        if not paused_s:
            self._until = None
            return ""
        until = self._wall() + timedelta(seconds=min(paused_s, 1e8))
        if self._until is None or until >= self._until + timedelta(seconds=2):
            self._until = until
        return f"paused {until_time(self._until, self._wall())}, Ctrl-C is safe: the server asks us to wait"


def until_time(until: datetime, now: datetime) -> str:
    """Return `until HH:MM:SS`, with the day where that is not today."""
    day = "" if until - now < timedelta(hours=20) else f"{until:%Y-%m-%d} "
    return f"until {day}{until:%H:%M:%S}"
