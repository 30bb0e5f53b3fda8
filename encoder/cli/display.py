"""What a worker says while it works: a live display on a terminal, plain lines elsewhere, nothing with --quiet."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from encoder.encode import Progress
from encoder.worker import Display


class Quiet:
    """Says nothing."""

    def begin(self, job: str, n_rows: int) -> None: ...

    def advance(self, job: str, progress: Progress) -> None: ...

    def end(self, job: str, line: str) -> None: ...

    def say(self, line: str) -> None: ...


class Plain(Quiet):
    """A line a shard, on stderr."""

    def end(self, job: str, line: str) -> None:
        self.say(f"{job}: {line}")

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


class Live(Plain):
    """A bar for the shard at hand, with tokens/s, L0 and the time of each stage; finished shards scroll above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("[bold]{task.description}", markup=True),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}", style="dim"),
            TimeRemainingColumn(compact=True),
            console=self._console,
        )
        self._task = self._progress.add_task("", visible=False, figures="")
        self._began = 0.0
        self._progress.start()

    def begin(self, job: str, n_rows: int) -> None:
        self._began = time.monotonic()
        name = job if len(job) <= 30 else "…" + job[-29:]
        self._progress.reset(self._task, description=name.replace("[", r"\["), total=n_rows, visible=True, figures="")

    def advance(self, job: str, progress: Progress) -> None:
        rate = progress.done / max(1e-9, time.monotonic() - self._began)
        stages = " ".join(f"{stage} {seconds:.1f}s" for stage, seconds in progress.seconds.items())
        figures = f"{rate:,.0f} tok/s · L0 {progress.nnz / max(1, progress.done):.0f} · {stages}"
        self._progress.update(self._task, completed=progress.done, figures=figures)

    def say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False)

    def close(self) -> None:
        self._progress.update(self._task, visible=False)
        self._progress.stop()


@contextmanager
def make_display(*, quiet: bool) -> Iterator[Display]:
    if quiet:
        yield Quiet()
    elif not sys.stderr.isatty():
        yield Plain()
    else:
        live = Live()
        try:
            yield live
        finally:
            live.close()
