"""The one progress display of all three commands, and of their functions in Python. It is told numbers and words.

    progress=True     Bars   in a terminal, on stderr: a bar for each open item, the run's figures below them
                      Notebook   the same bars below the cell, by whatever front end the notebook has
                      Lines  elsewhere, on stderr: a line for each event, and one now and then
    progress=False    Display, which says nothing
    progress=f        Calls: f(done, total, text) at each event; total is 0 while nobody knows it

An *item* is an SAE whose labels are fetched, or a shard that is encoded. Its story is `begin`, `advance` any number of
times, `end`. The run as a whole is the sum of its items, unless somebody counts otherwise and tells `overall`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from saefetch.terminal.board import Board, Now, Plan

Progress = bool | Callable[[int, int, str], object]
"""What the keyword `progress` of a public function takes."""


class Display:
    """Hears what happens and says nothing. The others add what they show."""

    def __init__(self, plan: Plan | None = None, now: Now = time.monotonic) -> None:
        self.board = Board(plan or Plan(), now)

    def overall(self, done: int, total: int) -> None:
        """The run as a whole counts by itself, in items."""
        self.board.overall(done, total)

    def begin(self, name: str, total: int, done: int = 0, *, line: str = "", short: str = "") -> None:
        """An item begins, of which `done` units are here already.

        `line` says so where there are no bars. `short` is the item's name where `name` is too long.
        """
        self.board.begin(name, total, done)

    def advance(self, name: str, done: int, text: str = "") -> None:
        """An item has `done` units. `text` is its figures."""
        self.board.advance(name, done, text)

    def end(self, name: str, line: str = "") -> None:
        """An item has ended, also where it never began. `line` says how."""
        self.board.end(name)

    def say(self, line: str) -> None:
        """Something that is worth a line of its own."""

    def tick(self, words: Sequence[str] = (), pause: str = "") -> None:
        """The run's figures, a few times a second. `pause` says that everything waits, and until when."""
        self.board.words = words

    def close(self) -> None:
        """Put the terminal back as it was."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Lines(Display):
    """A line for each event, for logs and pipes; and one now and then, once `plan.every_s` is over."""

    def __init__(self, write: Callable[[str], object], plan: Plan | None = None, now: Now = time.monotonic) -> None:
        super().__init__(plan, now)
        self._write, self._now = write, now
        self._next_line = now() + self.board.plan.every_s
        self._ticks, self._pause = False, ""

    def begin(self, name: str, total: int, done: int = 0, *, line: str = "", short: str = "") -> None:
        super().begin(name, total, done, line=line, short=short)
        if line:
            self.say(f"{name}: {line}")

    def advance(self, name: str, done: int, text: str = "") -> None:
        super().advance(name, done, text)
        if not self._ticks:
            self._now_and_then()

    def end(self, name: str, line: str = "") -> None:
        super().end(name, line)
        if line:
            self.say(f"{name}: {line}")

    def say(self, line: str) -> None:
        self._write(line + "\n")

    def tick(self, words: Sequence[str] = (), pause: str = "") -> None:
        super().tick(words, pause)
        self._ticks = True
        if pause and pause != self._pause:
            self.say(pause)
        self._pause = pause
        self._now_and_then()

    def _now_and_then(self) -> None:
        if self._now() < self._next_line:
            return
        board = self.board
        self._next_line = self._now() + board.plan.every_s
        done, total = board.whole
        heading = f"{done:,} of {total:,} {board.plan.items}" if board.heading.startswith("all") else board.heading
        words = [heading] if heading else []
        for name, item in list(board.open.items())[:1]:
            words += [f"{name}: {item.done:,} of {item.total:,}", *([item.text] if item.text else [])]
        words += [self._pause] if self._pause else board.figures() if self._ticks else []
        self.say(", ".join(words))


class Calls(Display):
    """Calls a function of the user's: how much is done, of how much, and what has just happened."""

    def __init__(self, call: Callable[[int, int, str], object], plan: Plan | None = None) -> None:
        super().__init__(plan)
        self._call = call

    def begin(self, name: str, total: int, done: int = 0, *, line: str = "", short: str = "") -> None:
        super().begin(name, total, done, line=line, short=short)
        self.say(f"{name}: {line}" if line else name)

    def advance(self, name: str, done: int, text: str = "") -> None:
        super().advance(name, done, text)
        item = self.board.open[name]
        self.say(f"{name}: {item.done:,} of {item.total:,}" + (f", {text}" if text else ""))

    def end(self, name: str, line: str = "") -> None:
        super().end(name, line)
        self.say(f"{name}: {line}" if line else name)

    def overall(self, done: int, total: int) -> None:
        is_news = (done, total) != self.board.whole
        super().overall(done, total)
        if is_news:
            self.say(f"{done:,} of {total:,} {self.board.plan.items}")

    def say(self, line: str) -> None:
        self._call(*self.board.whole, line)


def make_display(progress: Progress = True, plan: Plan | None = None) -> Display:
    """Make the display for a keyword `progress`, the one that fits where the program runs."""
    if callable(progress):
        return Calls(progress, plan)
    if not progress:
        return Display(plan)
    if in_notebook():
        from saefetch.terminal.bars import Notebook

        return Notebook(plan)
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        from saefetch.terminal.bars import Bars

        return Bars(plan)
    return Lines(sys.stderr.write, plan)


def in_notebook() -> bool:
    """Say whether this is a notebook's kernel, of Jupyter, Colab, VS Code or another."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")
