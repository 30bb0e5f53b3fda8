"""A figure as Markdown: strong tokens bold with their values, or a table."""

from __future__ import annotations

import re

from dashboard.figures.figure import Figure, Flow, lines_of, split_token, visible
from dashboard.figures.latex import shown

STRONG = 0.5
MOST_ROWS = 100
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")


def markdown(figure: Figure) -> str:
    parts = [f"**{escaped(lines_of(figure.title))}**"]
    parts += [f"{escaped(scale.label)}: {escaped(scale.least)} to {escaped(scale.most)}" for scale in figure.scales]
    if figure.flows:
        parts.append(f"Bold: at least {STRONG:.0%} of the scale.")
        parts += map(_flow, figure.flows)
    else:
        heads, rows = figure.table.columns, figure.table.rows[:MOST_ROWS]
        lines = [heads, ["---"] * len(heads), *([shown(cell) for cell in row] for row in rows)]
        parts.append("\n".join(f"| {' | '.join(escaped(cell) for cell in line)} |" for line in lines))
    return "\n\n".join([*parts, f"*{escaped(' '.join((*figure.remarks, figure.caption)))}*"]) + "\n"


def escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", visible(text))


def _flow(flow: Flow) -> str:
    words = []
    for mark in flow.marks:
        before, word, ends = split_token(mark.text)
        words.append(before + (f"**{escaped(word)}**" if mark.heat >= STRONG else escaped(word)) + ("  \n" * ends))
    return (f"{escaped(flow.head)}: " if flow.head else "") + "".join(words).replace("****", "")
