"""The parts of a page: tokens and labels as they can be seen safely, a token on its heat, a list of features.

Whatever comes from a shard or from Neuronpedia goes through `visible`. Tokens are set apart from each other for
bidirectional text, so that none can change the order of its neighbours.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from encoder.labelled.active import Active

_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
"""What is not seen, or moves the text around it: control characters, marks of direction, separators, half a pair."""
_SIGNS = {"\n": "↵", "\r": "␍", "\t": "⇥", "\x1b": "␛", "\0": "␀"}


@dataclass(frozen=True, slots=True)
class Token:
    """A row as it is shown. `heat` is from 0 to 1; `note` says in a word why the row does not count, "" if it does."""

    row: int
    text: str
    heat: float = 0.0
    note: str = ""

    def heated(self, heat: float) -> Token:
        return replace(self, heat=heat)


def visible(text: str) -> str:
    """Escape a text; a character that is not seen, or moves others about, is shown by a sign or its number."""
    return _UNSEEN.sub(_sign, html.escape(text))


def _sign(found: re.Match[str]) -> str:
    character = found[0]
    return f'<span class="sf-sign">{_SIGNS.get(character) or f"U+{ord(character):04X}"}</span>'


def plain(text: str) -> str:
    """Return a text for a title: without what is not seen."""
    return _UNSEEN.sub(lambda found: _SIGNS.get(found[0]) or f"U+{ord(found[0]):04X}", text)


def token(one: Token, inside: str = "", *, mark: bool = False) -> str:
    """Return a token on its heat; `inside` is what is shown beside the text while the token is pointed at."""
    classes = "sf-tok" + (" sf-out" if one.note else "") + (" sf-mark" if mark else "")
    focus = ' tabindex="0"' if inside else ""
    heat = f' style="--h:{round(100 * min(1.0, one.heat))}%"' if one.heat > 0 else ""
    breaks = "<br>" * min(one.text.count("\n"), 3) if inside else ""
    return f'<span class="{classes}"{focus}{heat}><bdi>{visible(one.text)}</bdi>{inside}</span>{breaks}'


def details(one: Token, where: str, active: Sequence[Active], n_active: int) -> str:
    """Return what is shown beside the text while a token is pointed at: its features, the strongest first."""
    why = f'<span class="sf-quiet">this row does not count: {visible(one.note)}</span>' if one.note else ""
    more = n_active - len(active)
    rest = f'<span class="sf-quiet">and {more:,} more: show(row={one.row})</span>' if more else ""
    none = "" if n_active else '<span class="sf-quiet">no feature is active here</span>'
    head = f'<span class="sf-head"><bdi>{visible(one.text)}</bdi> <span class="sf-quiet">{where}</span></span>'
    features = "".join(map(feature_row, active))
    return f'<span class="sf-pop">{head}{why}{features}{rest}{none}</span>'


def feature_row(active: Active) -> str:
    """Return a feature with its value and its label, on a bar: its share of the largest that Neuronpedia saw."""
    label = "no label" if active.description is None else visible(active.description)
    quiet = " sf-quiet" if active.description is None else ""
    share = abs(active.share) if active.share is not None else 0.0
    bar = f'<span class="sf-bar"><span style="width:{round(100 * min(1.0, share))}%"></span></span>'
    return (
        f'<span class="sf-feature"><b>{active.index}</b><span class="sf-value">{active.value:.4g}{bar}</span>'
        f'<bdi class="sf-label{quiet}">{label}</bdi></span>'
    )


def context(value: float, flow: str, where: str) -> str:
    """Return a row's value, the tokens around it (HTML), and where it is."""
    return (
        f'<div class="sf-context"><span class="sf-value">{value:.4g}</span><span>{flow}</span>'
        f'<span class="sf-quiet">{where}</span></div>'
    )


def frame(heading: str, facts: Sequence[str], content: str, *, wide: bool = False) -> str:
    """Return the whole of a page's body. `facts` and `content` are HTML, `heading` too."""
    lines = "".join(f"<p>{fact}</p>" for fact in facts if fact)
    kind = " sf-wide" if wide else ""
    return (
        f'<div class="sf{kind}"><div class="sf-top"><div class="sf-title">{heading}</div>{lines}</div>{content}</div>'
    )
