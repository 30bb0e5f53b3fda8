"""Progress as bars, drawn by rich.progress: in a terminal, and below a notebook's cell."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as RichProgress
from rich.table import Column
from rich.text import Text

from saefetch.terminal.board import Now, Plan
from saefetch.terminal.progress import Display

NOTEBOOK_COLUMNS = 100
NOTEBOOK_EVERY_S = 0.2
HTML = '<pre style="margin:0;line-height:1.3;white-space:pre">{code}</pre>'


class Bars(Display):
    """A bar for the run if it has several items, a bar for each open item, figures below. It leaves no bar behind."""

    def __init__(self, plan: Plan | None = None, console: Console | None = None, now: Now = time.monotonic) -> None:
        super().__init__(plan, now)
        self._pause = self._text = ""
        self._ticks = False
        self._tasks: dict[str, TaskID] = {}
        self.console = console or Console(stderr=True)
        self._bars = _Rows(self._below, console=self.console, expand=True, transient=True, refresh_per_second=8)
        self._whole = self._bars.add_task("", total=None, visible=False, count="")
        self._show_whole()
        self._start()

    def _start(self) -> None:
        self._bars.start()

    def overall(self, done: int, total: int) -> None:
        super().overall(done, total)
        self._show_whole()

    def begin(self, name: str, total: int, done: int = 0, *, line: str = "", short: str = "") -> None:
        super().begin(name, total, done, line=line, short=short)
        shown = self._fit(short if short and (len(name) > self._room // 2 or self.board.plan.n_items > 1) else name)
        self._tasks[name] = self._bars.add_task(shown, total=total or None, completed=done, count=_count(done, total))
        self._show_whole()

    def advance(self, name: str, done: int, text: str = "") -> None:
        super().advance(name, done, text)
        item = self.board.open[name]
        self._text = f"{self._fit(name)} · {text}" if text and len(self._tasks) > 1 else text
        if name in self._tasks:
            self._bars.update(self._tasks[name], completed=item.done, count=_count(item.done, item.total))
        self._show_whole()

    def end(self, name: str, line: str = "") -> None:
        super().end(name, line)
        if name in self._tasks:
            self._bars.remove_task(self._tasks.pop(name))
            self._text = ""
        self._show_whole()
        if line:
            self.say(f"{name}: {line}")

    def say(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False)

    def tick(self, words: Sequence[str] = (), pause: str = "") -> None:
        super().tick(words, pause)
        self._ticks, self._pause = True, pause

    def close(self) -> None:
        self._bars.stop()

    def _show_whole(self) -> None:
        done, total = self.board.whole
        heading = self.board.heading
        self._bars.update(
            self._whole,
            description=heading,
            completed=done,
            total=total or None,
            visible=bool(heading),
            count=_count(done, total),
        )

    @property
    def _room(self) -> int:
        """How long a name may be: half the line."""
        return max(12, self.console.width // 2 - 4)

    def _fit(self, name: str) -> str:
        """Shorten a name in its middle: the layer stands in front, the shard's number behind."""
        room = self._room
        return name if len(name) <= room else f"{name[: room // 2]}…{name[len(name) - (room - room // 2 - 1) :]}"

    def _below(self) -> Text | None:
        if self._pause:
            return Text(self._pause, style="yellow", no_wrap=True, overflow="ellipsis")
        if self._tasks and self._text:
            return Text(self._text, style="dim", no_wrap=True, overflow="ellipsis")
        if self._ticks and (self._tasks or self.board.n_ended):
            return Text(" · ".join(self.board.figures()), style="dim")
        is_starting = self.board.plan.starting and not self._tasks and not self.board.n_ended
        return Text(self.board.plan.starting, style="dim") if is_starting else None


class Notebook(Bars):
    """The same bars as one output of the cell, which is drawn again and again; the last one stays.

    Not rich's own way, which needs ipywidgets: without them, it prints a warning in place of the bars.
    """

    def __init__(self, plan: Plan | None = None, now: Now = time.monotonic) -> None:
        self._handle: Any = None
        self._drawn_s = float("-inf")
        self._now = now
        console = Console(file=io.StringIO(), width=NOTEBOOK_COLUMNS, force_jupyter=False)
        super().__init__(plan, console, now)

    def _start(self) -> None:
        self._draw()

    def overall(self, done: int, total: int) -> None:
        super().overall(done, total)
        self._draw_now_and_then()

    def begin(self, name: str, total: int, done: int = 0, *, line: str = "", short: str = "") -> None:
        super().begin(name, total, done, line=line, short=short)
        self._draw()

    def advance(self, name: str, done: int, text: str = "") -> None:
        super().advance(name, done, text)
        self._draw_now_and_then()

    def tick(self, words: Sequence[str] = (), pause: str = "") -> None:
        super().tick(words, pause)
        self._draw_now_and_then()

    def say(self, line: str) -> None:
        print(line, flush=True)

    def close(self) -> None:
        done, total = self.board.whole
        if total:
            name = self.board.plan.items if self.board.heading.startswith("all") else self.board.plan.unit
            self._bars.update(self._whole, description=name, completed=done, visible=True)
        self._draw()

    def _draw_now_and_then(self) -> None:
        if self._now() >= self._drawn_s + NOTEBOOK_EVERY_S:
            self._draw()

    def _draw(self) -> None:
        import IPython.display

        show: Any = IPython.display.display
        self._drawn_s = self._now()
        paper = partial(Console, file=io.StringIO(), width=NOTEBOOK_COLUMNS, force_jupyter=False, record=True)
        plain, coloured = paper(color_system=None), paper(force_terminal=True, color_system="truecolor")
        for each in (plain, coloured):
            each.print(self._bars.get_renderable())
        drawn = {
            "text/plain": plain.export_text().rstrip() or " ",
            "text/html": coloured.export_html(inline_styles=True, code_format=HTML),
        }
        if self._handle is None:
            self._handle = show(drawn, raw=True, display_id=True)
        else:
            self._handle.update(drawn, raw=True)


class _Rows(RichProgress):
    """rich's rows, with figures below them."""

    def __init__(self, below: Any, **settings: Any) -> None:
        self._below_of = below
        super().__init__(
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(None, table_column=Column(ratio=1, min_width=8)),
            TextColumn("{task.fields[count]}", markup=False, table_column=Column(no_wrap=True, justify="right")),
            **settings,
        )

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        below = self._below_of()
        if below is not None:
            yield below


def _count(done: int, total: int) -> str:
    return f"{done:,}/{total:,}" if total else f"{done:,}"
