"""What a run says while it goes on: a live display on a terminal, plain lines elsewhere, nothing with --quiet.

All of it goes to stderr; stdout is for the result.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from saefetch.transport import Transport

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PLAIN_EVERY_S = 5.0


class Display(Protocol):
    """Hears what happens. `tick` is called a few times a second while a run goes on."""

    def start(self, job: str, n_features: int, n_done: int) -> None: ...

    def advance(self, job: str, n_done: int) -> None: ...

    def finish(self, job: str) -> None: ...

    def say(self, line: str) -> None: ...

    def tick(self, transport: Transport) -> None: ...

    def close(self) -> None: ...


class Quiet:
    """Says nothing."""

    def start(self, job: str, n_features: int, n_done: int) -> None: ...

    def advance(self, job: str, n_done: int) -> None: ...

    def finish(self, job: str) -> None: ...

    def say(self, line: str) -> None: ...

    def tick(self, transport: Transport) -> None: ...

    def close(self) -> None: ...


class Plain:
    """A line now and then, for logs and pipes."""

    def __init__(self, write: Callable[[str], object] = sys.stderr.write, now: Callable[[], float] = time.monotonic):
        self._write, self._now = write, now
        self._jobs: dict[str, tuple[int, int]] = {}
        self._next_line = now() + PLAIN_EVERY_S
        self._paused = False

    def start(self, job: str, n_features: int, n_done: int) -> None:
        self._jobs[job] = n_features, n_done
        already = f", {n_done:,} already here" if n_done else ""
        self.say(f"{job}: {n_features:,} features{already}")

    def advance(self, job: str, n_done: int) -> None:
        self._jobs[job] = self._jobs[job][0], n_done

    def finish(self, job: str) -> None:
        self._jobs.pop(job, None)

    def say(self, line: str) -> None:
        self._write(line + "\n")

    def tick(self, transport: Transport) -> None:
        paused_s = transport.paused_s
        if paused_s and not self._paused:
            self.say(pause_line(paused_s))
        self._paused = bool(paused_s)
        if self._now() < self._next_line:
            return
        self._next_line = self._now() + PLAIN_EVERY_S
        counters = transport.counters
        for job, (n_features, n_done) in self._jobs.items():
            self.say(
                f"{job}: {n_done:,} of {n_features:,}, {counters.requests:,} requests, {counters.retries:,} retries"
            )

    def close(self) -> None: ...


class Live:
    """rich's progress bars on a terminal: one a job, with the transport's figures below."""

    def __init__(self, n_jobs: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = Console(stderr=True)
        self._progress: Progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}", style="dim"),
            TimeRemainingColumn(compact=True),
            console=self._console,
            expand=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._began = time.monotonic()
        self._paused = False
        self._all = self._progress.add_task("all SAEs", total=n_jobs, figures="") if n_jobs > 1 else None
        self._progress.start()

    def start(self, job: str, n_features: int, n_done: int) -> None:
        short = job if len(job) <= 34 else "…" + job[-33:]
        self._tasks[job] = self._progress.add_task(short, total=n_features, completed=n_done, figures="")

    def advance(self, job: str, n_done: int) -> None:
        self._progress.update(self._tasks[job], completed=n_done)

    def finish(self, job: str) -> None:
        task = self._tasks.pop(job, None)
        if task is not None:
            self._progress.remove_task(task)
        if self._all is not None:
            self._progress.advance(self._all)

    def say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False)

    def tick(self, transport: Transport) -> None:
        paused_s = transport.paused_s
        if paused_s and not self._paused:
            self.say(pause_line(paused_s))
        self._paused = bool(paused_s)
        counters = transport.counters
        rate = counters.requests / max(1e-3, time.monotonic() - self._began)
        figures = f"{rate:.0f} req/s · {counters.retries:,} retries"
        if transport.quota_left is not None:
            figures += f" · quota {transport.quota_left:,}"
        if paused_s:
            figures = f"paused {paused_s:.0f} s"
        for task in self._tasks.values():
            self._progress.update(task, figures=figures)

    def close(self) -> None:
        self._progress.stop()


def pause_line(paused_s: float) -> str:
    until = datetime.now() + timedelta(seconds=paused_s)
    return f"The server asks us to wait: everything pauses until {until:%H:%M:%S}. Ctrl-C is safe; what is here stays."


def make_display(*, quiet: bool, n_jobs: int) -> Display:
    if quiet:
        return Quiet()
    return Live(n_jobs) if sys.stderr.isatty() else Plain()
