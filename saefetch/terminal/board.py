"""The figures of a run: how far it is, how fast, and how long the rest will take."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Now = Callable[[], float]
PACE_WINDOW_S = 10.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is known of a run before it begins, and its nouns. `total` counts units of all items; 0 is not known."""

    unit: str = "rows"
    items: str = "items"
    n_items: int = 1
    total: int = 0
    starting: str = ""  # what goes on before the first item begins
    finishing: str = ""  # what goes on once every unit is done
    every_s: float = 5.0  # how often Lines says how far the run is


@dataclass(slots=True)
class Item:
    total: int
    done: int
    text: str = ""


class Pace:
    """Units a second over the last `PACE_WINDOW_S`, and how long the rest will take at that pace."""

    def __init__(self, now: Now) -> None:
        self._now = now
        self._marks: deque[tuple[float, int]] = deque([(now(), 0)])
        self._n_done = 0

    def add(self, n: int) -> None:
        now = self._now()
        self._n_done += n
        self._marks.append((now, self._n_done))
        while len(self._marks) > 2 and self._marks[1][0] < now - PACE_WINDOW_S:
            self._marks.popleft()

    @property
    def per_second(self) -> float:
        since, n = self._marks[0]
        return (self._n_done - n) / max(0.5, self._now() - since)

    def left_s(self, n_left: int) -> float | None:
        """Return None where nobody can tell."""
        per_second = self.per_second
        return n_left / per_second if per_second > 0 else None


class Board:
    """The figures of a run. What an item had when it began counts as done, not as speed."""

    def __init__(self, plan: Plan, now: Now = time.monotonic) -> None:
        self.plan, self.pace = plan, Pace(now)
        self.open: dict[str, Item] = {}
        self.n_ended = 0
        self.words: Sequence[str] = ()
        self._overall: tuple[int, int] | None = None
        self._done_before = self._total_before = 0

    @property
    def whole(self) -> tuple[int, int]:
        """How much of the run is done, and of how much."""
        if self._overall is not None:
            return self._overall
        items = list(self.open.values())  # a copy: bars are drawn by a thread of their own
        known = self._total_before + sum(item.total for item in items)
        return self._done_before + sum(item.done for item in items), max(self.plan.total, known)

    @property
    def heading(self) -> str:
        """The name of the run as a whole; empty where its only item says it all."""
        if self._overall is not None:
            return f"all {self.plan.items}" if self._overall[1] > 1 else ""
        return f"{self.n_ended:,} of {self.plan.n_items:,} {self.plan.items}" if self.plan.n_items > 1 else ""

    def overall(self, done: int, total: int) -> None:
        self._overall = done, total

    def begin(self, name: str, total: int, done: int) -> None:
        self.open[name] = Item(total, done)

    def advance(self, name: str, done: int, text: str) -> Item:
        item = self.open.setdefault(name, Item(0, 0))
        self.pace.add(max(0, done - item.done))
        item.done, item.text = max(item.done, done), text
        return item

    def end(self, name: str) -> None:
        item = self.open.pop(name, Item(0, 0))
        self._done_before, self._total_before = self._done_before + item.done, self._total_before + item.total
        self.n_ended += 1

    def figures(self) -> list[str]:
        """Return the run's figures, the most important first."""
        done, total = self.whole
        figures = [f"{self.pace.per_second:,.0f} {self.plan.unit}/s"]
        if self._overall is not None:  # that is in items, and the pace in units
            return [*figures, *self.words]
        left_s = self.pace.left_s(total - done)
        if done >= total:
            figures += [self.plan.finishing] if self.plan.finishing and self.open else []
        elif left_s is not None:
            figures.append(f"{duration(left_s)} left")
        return [*figures, *self.words]


def duration(seconds: float) -> str:
    """Return `7 s`, `3 min 05 s`, `2 h 10 min`."""
    s = max(1, round(seconds))
    if s < 60:
        return f"{s} s"
    return f"{s // 60} min {s % 60:02} s" if s < 3600 else f"{s // 3600:,} h {s // 60 % 60:02} min"
