"""What is drawn. `views/figure.py` makes it of a view's answer."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_SIGNS = {"\n": "↵", "\r": "␍", "\t": "⇥"}

Cell = str | int | float | None


@dataclass(frozen=True, slots=True)
class Mark:
    """A token: `text` as it is, `heat` from 0 to 1. `scale` is its pin, -1 for heat; minus has its own."""

    text: str
    heat: float = 0.0
    scale: int = -1
    is_minus: bool = False
    is_centre: bool = False


@dataclass(frozen=True, slots=True)
class Scale:
    """The colour bar of a feature or of a figure of tokens: its label in full, its two ends."""

    label: str
    least: str
    most: str
    pin: int | None = None


@dataclass(frozen=True, slots=True)
class Flow:
    """A text of tokens; `head` stands before it: a value."""

    marks: Sequence[Mark]
    head: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of a chart: `share` from -1 to 1 of the longest bar, `figures` stand at its end."""

    label: str
    share: float
    figures: str


@dataclass(frozen=True, slots=True)
class Table:
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True, slots=True)
class Figure:
    """`name` is that of a file. A title may have two lines. `sides` are what bars to the left and to the right mean."""

    name: str
    title: str
    caption: str
    table: Table
    scales: Sequence[Scale] = ()
    flows: Sequence[Flow] = ()
    bars: Sequence[Bar] = ()
    sides: tuple[str, str] = ("", "")
    remarks: Sequence[str] = field(default=())


def lines_of(title: str) -> str:
    """Return a title as one line."""
    return "; ".join(title.split("\n"))


def visible(text: str) -> str:
    """Return a text in which every character can be seen, and none moves its neighbours."""
    return _UNSEEN.sub(lambda found: _SIGNS.get(found[0]) or f"U+{ord(found[0]):04X}", text)


def split_token(text: str) -> tuple[str, str, bool]:
    """Return the spaces before a token, what of it carries heat, and whether a line ends with it."""
    word = text.lstrip(" ")
    if not word:
        return "", "␣" * max(1, min(len(text), 8)) if text else "·", False
    return " " * (len(text) - len(word)), visible(word), word.endswith("\n")


def is_from_right(texts: Sequence[str]) -> bool:
    """Say whether a paragraph is written from right to left: by its first letter with a direction."""
    for text in texts:
        for character in text:
            direction = unicodedata.bidirectional(character)
            if direction in ("L", "R", "AL"):
                return direction != "L"
    return False
