"""What a worker tells while it works, and to whom.

Quiet    the base: nothing
Shown    a display of `saefetch.terminal.progress`: an item is a shard, a unit is a token
Report   JSON lines on stdout, for the process that started this one. `relay` hands each line to a display there,
         with what was done, job by job: a worker that is killed takes no finished job along
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from encoder.work.progress import Progress
from encoder.work.totals import Display, Totals
from saefetch.terminal import progress as terminal
from saefetch.terminal.board import Plan, duration

PLAN = Plan(unit="tokens", items="shards", n_items=0, starting="loading the SAE", every_s=30.0)


class Quiet:
    """Says nothing."""

    def overall(self, ended: int, total: int) -> None: ...

    def begin(self, job: str, n_rows: int) -> None: ...

    def advance(self, job: str, progress: Progress) -> None: ...

    def end(self, job: str, line: str, did: Totals) -> None: ...

    def say(self, line: str) -> None: ...

    def tick(self, words: Sequence[str]) -> None: ...


class Shown(Quiet):
    """Puts a shard's progress into words."""

    def __init__(self, display: terminal.Display) -> None:
        self._display = display
        self._began: dict[str, float] = {}

    def overall(self, ended: int, total: int) -> None:
        self._display.overall(ended, total)

    def begin(self, job: str, n_rows: int) -> None:
        self._began[job] = time.monotonic()
        self._display.begin(job, n_rows)

    def advance(self, job: str, progress: Progress) -> None:
        rate = progress.done / max(1e-9, time.monotonic() - self._began[job])
        stages = " ".join(f"{stage} {seconds:.1f}s" for stage, seconds in progress.seconds.items())
        left = f"{duration((progress.n_rows - progress.done) / max(1e-9, rate))} left · "
        l0 = progress.nnz_counted / max(1, progress.n_counted)
        self._display.advance(job, progress.done, f"{rate:,.0f} tokens/s · {left}L0 {l0:.0f} · {stages}")

    def end(self, job: str, line: str, did: Totals) -> None:
        self._began.pop(job, None)
        self._display.end(job, line)

    def say(self, line: str) -> None:
        self._display.say(line)

    def tick(self, words: Sequence[str]) -> None:
        self._display.tick(words)


class Report(Quiet):
    """Everything, as JSON lines."""

    def overall(self, ended: int, total: int) -> None:
        self._tell("overall", ended=ended, total=total)

    def begin(self, job: str, n_rows: int) -> None:
        self._tell("begin", job=job, n_rows=n_rows)

    def advance(self, job: str, progress: Progress) -> None:
        self._tell("advance", job=job, progress=asdict(progress))

    def end(self, job: str, line: str, did: Totals) -> None:
        self._tell("end", job=job, line=line, did=asdict(did))

    def say(self, line: str) -> None:
        self._tell("say", line=line)

    def _tell(self, event: str, **words: Any) -> None:
        try:
            print(json.dumps({"event": event, **words}), flush=True)
        except BrokenPipeError:  # nobody is there any more: stop as SIGTERM would stop it
            sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - for the rest of the process
            os.kill(os.getpid(), signal.SIGTERM)


def relay(line: str, display: Display) -> Totals:
    """Hand a line of a `Report` to `display`; return what was done since the line before."""
    words: dict[str, Any] = json.loads(line)
    event = words.pop("event")
    did = Totals()
    if event == "advance":
        words["progress"] = Progress(**words["progress"])
    elif event == "end":
        did = words["did"] = Totals(**words["did"])
    getattr(display, event)(**words)
    return did


@contextmanager
def open_display(progress: terminal.Progress = True, *, report: bool = False) -> Iterator[Display]:
    """Open a worker's display for a keyword `progress`, or as a `Report`."""
    if report:
        yield Report()
        return
    with terminal.make_display(progress, PLAN) as display:
        yield Shown(display)
