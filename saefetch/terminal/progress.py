"""What a run says while it goes on: a live display on a terminal, plain lines elsewhere, nothing with --quiet.

All of it goes to stderr; stdout is for the result.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from saefetch.names.identity import Target

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from saefetch.net.transport import Counters

PLAIN_EVERY_S = 5.0
PACE_WINDOW_S = 10.0
Now = Callable[[], float]


class Pacer(Protocol):
    """What a display wants to know of the transport."""

    @property
    def counters(self) -> Counters: ...

    @property
    def paused_s(self) -> float | None: ...

    @property
    def quota_left(self) -> int | None: ...


class Display(Protocol):
    """Hears what happens. `tick` is called a few times a second while a run goes on."""

    def start(self, job: str, n_features: int, n_done: int) -> None: ...

    def advance(self, job: str, n_done: int) -> None: ...

    def finish(self, job: str) -> None: ...

    def say(self, line: str) -> None: ...

    def tick(self, transport: Pacer) -> None: ...

    def close(self) -> None: ...


class Quiet:
    """Says nothing."""

    def start(self, job: str, n_features: int, n_done: int) -> None: ...

    def advance(self, job: str, n_done: int) -> None: ...

    def finish(self, job: str) -> None: ...

    def say(self, line: str) -> None: ...

    def tick(self, transport: Pacer) -> None: ...

    def close(self) -> None: ...


class Pace:
    """Features a second over the last `PACE_WINDOW_S`, and how long the rest will take at that pace."""

    def __init__(self, now: Now) -> None:
        self._now = now
        self._marks: deque[tuple[float, int]] = deque([(now(), 0)])
        self.n_fetched = 0

    def add(self, n: int) -> None:
        now = self._now()
        self.n_fetched += n
        self._marks.append((now, self.n_fetched))
        while len(self._marks) > 2 and self._marks[1][0] < now - PACE_WINDOW_S:
            self._marks.popleft()

    @property
    def per_second(self) -> float:
        since, n = self._marks[0]
        return (self.n_fetched - n) / max(0.5, self._now() - since)

    def left_s(self, n_left: int) -> float | None:
        """None where nobody can tell."""
        per_second = self.per_second
        return n_left / per_second if per_second > 0 else None


class Board:
    """The figures of a run. `n_features` are those of all its SAEs, as far as they are known beforehand.

    Read by rich's thread while it is written to, hence the copies.
    """

    def __init__(self, n_jobs: int, n_features: int, now: Now) -> None:
        self.n_jobs, self.n_features, self.n_jobs_done = n_jobs, n_features, 0
        self.open: dict[str, tuple[int, int]] = {}
        self.pace = Pace(now)
        self._n_done_before = 0

    @property
    def n_done(self) -> int:
        return self._n_done_before + sum(n_done for _, n_done in list(self.open.values()))

    @property
    def n_left(self) -> int:
        known = sum(n_features for n_features, _ in list(self.open.values()))
        return max(self.n_features, known) - self.n_done

    def start(self, job: str, n_features: int, n_done: int) -> None:
        self.open[job] = n_features, n_done

    def advance(self, job: str, n_done: int) -> None:
        n_features, n_before = self.open[job]
        self.open[job] = n_features, n_done
        self.pace.add(n_done - n_before)

    def finish(self, job: str) -> None:
        _, n_done = self.open.pop(job, (0, 0))
        self._n_done_before += n_done
        self.n_jobs_done += 1

    def figures(self, transport: Pacer) -> list[str]:
        """Return the figures that matter, the most important first."""
        counters = transport.counters
        figures = [f"{self.pace.per_second:,.0f} features/s"]
        left_s = self.pace.left_s(self.n_left)
        if self.n_left <= 0:
            figures.append("writing the files")
        elif left_s is not None:
            figures.append(f"{duration(left_s)} left")
        figures.append(f"{counters.requests:,} requests")
        figures.append(f"{counters.retries:,} {'retry' if counters.retries == 1 else 'retries'}")
        if transport.quota_left is not None:
            figures.append(f"quota {transport.quota_left:,} left")
        return figures


class PauseNews:
    """Says once that everything pauses, and again when the pause grows."""

    def __init__(self, wall: Callable[[], datetime] = datetime.now) -> None:
        self._wall = wall
        self.until: datetime | None = None

    def hear(self, paused_s: float | None) -> str | None:
        """Return the line to say, if there is news."""
        if not paused_s:
            self.until = None
            return None
        until = self._wall() + timedelta(seconds=min(paused_s, 1e8))
        if self.until is not None and until < self.until + timedelta(seconds=2):
            return None
        self.until = until
        return f"The server asks us to wait: everything pauses {until_time(until)}. Ctrl-C is safe; what is here stays."


class Plain:
    """A line now and then, for logs and pipes."""

    def __init__(self, write: Callable[[str], object], n_jobs: int = 1, n_features: int = 0, now: Now = time.monotonic):
        self._write, self._now = write, now
        self._board = Board(n_jobs, n_features, now)
        self._news = PauseNews()
        self._next_line = now() + PLAIN_EVERY_S

    def start(self, job: str, n_features: int, n_done: int) -> None:
        self._board.start(job, n_features, n_done)
        already = f", {n_done:,} already here" if n_done else ""
        self.say(f"{job}: {n_features:,} features{already}")

    def advance(self, job: str, n_done: int) -> None:
        self._board.advance(job, n_done)

    def finish(self, job: str) -> None:
        self._board.finish(job)

    def say(self, line: str) -> None:
        self._write(line + "\n")

    def tick(self, transport: Pacer) -> None:
        news = self._news.hear(transport.paused_s)
        if news:
            self.say(news)
        if self._now() < self._next_line:
            return
        self._next_line = self._now() + PLAIN_EVERY_S
        board = self._board
        where = ", ".join(f"{job}: {n_done:,} of {n:,}" for job, (n, n_done) in list(board.open.items())[:1])
        if board.n_jobs > 1:
            where = f"{board.n_jobs_done:,} of {board.n_jobs:,} SAEs, {where}"
        figures = board.figures(transport) if self._news.until is None else [until_time(self._news.until, "paused ")]
        self.say(", ".join([where, *figures] if where else figures))

    def close(self) -> None: ...


class Live:
    """On a terminal: a bar for each open job, and the run's figures below. It leaves nothing behind."""

    def __init__(self, n_jobs: int, n_features: int, console: Console | None = None, now: Now = time.monotonic) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self._board = Board(n_jobs, n_features, now)
        self._news = PauseNews()
        self._figures: list[str] = []
        self._console = console or Console(stderr=True)
        self._live = RichLive(
            console=self._console, transient=True, refresh_per_second=8, get_renderable=self._render, auto_refresh=True
        )
        self._live.start()

    def start(self, job: str, n_features: int, n_done: int) -> None:
        self._board.start(job, n_features, n_done)

    def advance(self, job: str, n_done: int) -> None:
        self._board.advance(job, n_done)

    def finish(self, job: str) -> None:
        self._board.finish(job)

    def say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False)

    def tick(self, transport: Pacer) -> None:
        self._news.hear(transport.paused_s)
        self._figures = self._board.figures(transport)

    def close(self) -> None:
        self._live.stop()

    def _render(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        board, lines = self._board, []
        width = self._console.width
        if board.n_jobs > 1:
            lines.append((f"{board.n_jobs_done:,} of {board.n_jobs:,} SAEs", board.n_features, board.n_done))
        for job, (n_features, n_done) in board.open.copy().items():
            release, _, sae_id = job.partition(" ")
            lines.append((sae_id if board.n_jobs > 1 or width < 100 else f"{release} {sae_id}", n_features, n_done))
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(no_wrap=True, overflow="ellipsis", max_width=max(12, width // 2 - 4))
        grid.add_column(ratio=1)
        grid.add_column(no_wrap=True, justify="right")
        for name, n_features, n_done in lines:
            count = f"{n_done:,}/{n_features:,}" if n_features else f"{n_done:,}"
            bar = ProgressBar(total=n_features or None, completed=n_done, pulse=not n_features)
            grid.add_row(Text(name), bar, Text(count))
        below = Text(" · ".join(self._figures) if lines else "asking the server", style="dim")
        if self._news.until is not None:
            below = Text(f"paused {until_time(self._news.until)}, Ctrl-C is safe", style="yellow")
        return Group(grid, below)


def until_time(until: datetime, before: str = "") -> str:
    """Return `until HH:MM:SS`, with the day where that is not today."""
    day = "" if until - datetime.now() < timedelta(hours=20) else f"{until:%Y-%m-%d} "
    return f"{before}until {day}{until:%H:%M:%S}"


def duration(seconds: float) -> str:
    """Return `7 s`, `3 min 05 s`, `2 h 10 min`."""
    s = max(1, round(seconds))
    if s < 60:
        return f"{s} s"
    return f"{s // 60} min {s % 60:02} s" if s < 3600 else f"{s // 3600:,} h {s // 60 % 60:02} min"


def make_display(*, quiet: bool, targets: Sequence[Target], scope: range | None = None) -> Display:
    """Make the display that fits where stderr goes. `scope` are the features of each target that are asked for."""
    if quiet:
        return Quiet()
    widths = (range(target.n_features or 0) for target in targets)
    n_features = sum(len(width[scope.start : scope.stop] if scope else width) for width in widths)
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return Live(len(targets), n_features)
    return Plain(sys.stderr.write, len(targets), n_features)
