"""What a worker says while it works.

Live     on a terminal: a bar for all shards and one for each that is being encoded, with its figures
Plain    elsewhere: a line a shard
Quiet    nothing
Report   JSON lines on stdout, for the process that started this one; `relay` tells them to a display there, and what
         was done, job by job: a worker that is killed takes nothing of it along
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from encoder.work.encode import Progress
from encoder.work.worker import Display, Totals


class Quiet:
    """Says nothing."""

    def overall(self, ended: int, total: int) -> None: ...

    def begin(self, job: str, n_rows: int) -> None: ...

    def advance(self, job: str, progress: Progress) -> None: ...

    def end(self, job: str, line: str, did: Totals) -> None: ...

    def say(self, line: str) -> None: ...


class Plain(Quiet):
    """A line a shard, on stderr."""

    def end(self, job: str, line: str, did: Totals) -> None:
        self.say(f"{job}: {line}")

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


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

    def _tell(self, event: str, **what: Any) -> None:
        try:
            print(json.dumps({"event": event, **what}), flush=True)
        except BrokenPipeError:  # nobody is there any more: stop as if told to
            sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - for the rest of the process
            os.kill(os.getpid(), signal.SIGTERM)


def relay(line: str, display: Display) -> Totals:
    """Tell `display` what a line of a `Report` says; return what was done since the line before."""
    said: dict[str, Any] = json.loads(line)
    event = said.pop("event")
    did = Totals()
    if event == "advance":
        said["progress"] = Progress(**said["progress"])
    elif event == "end":
        did = said["did"] = Totals(**said["did"])
    getattr(display, event)(**said)
    return did


class Live(Plain):
    """Bars; finished shards scroll above them."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        self._console = Console(stderr=True)
        self._bars = Bars(
            TextColumn("[bold]{task.description}"),
            BarColumn(24),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[figures]}", style="dim"),
            console=self._console,
        )
        self._all = self._bars.add_task("all shards", total=None, visible=False, figures="")
        self._tasks: dict[str, Any] = {}
        self._began: dict[str, float] = {}
        self._bars.start()

    def overall(self, ended: int, total: int) -> None:
        self._bars.update(self._all, completed=ended, total=total, visible=total > 1)

    def begin(self, job: str, n_rows: int) -> None:
        name = job if len(job) <= 30 else "…" + job[-29:]
        self._began[job] = time.monotonic()
        self._tasks[job] = self._bars.add_task(name.replace("[", r"\["), total=n_rows, figures="")

    def advance(self, job: str, progress: Progress) -> None:
        rate = progress.done / max(1e-9, time.monotonic() - self._began[job])
        stages = " ".join(f"{stage} {seconds:.1f}s" for stage, seconds in progress.seconds.items())
        figures = f"{rate:,.0f} tokens/s · L0 {progress.nnz / max(1, progress.done):.0f} · {stages}"
        self._bars.update(self._tasks[job], completed=progress.done, figures=figures)

    def end(self, job: str, line: str, did: Totals) -> None:
        if job in self._tasks:
            self._bars.remove_task(self._tasks.pop(job))
        super().end(job, line, did)

    def say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False)

    def close(self) -> None:
        self._bars.stop()


@contextmanager
def make_display(*, quiet: bool, report: bool = False) -> Iterator[Display]:
    if report:
        yield Report()
    elif quiet:
        yield Quiet()
    elif not sys.stderr.isatty():
        yield Plain()
    else:
        live = Live()
        try:
            yield live
        finally:
            live.close()
