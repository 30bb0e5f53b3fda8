"""A figure as LaTeX: tokens in colour boxes, or a table with rules of booktabs. XeLaTeX or LuaLaTeX set any script."""

from __future__ import annotations

import re

from dashboard.figures.colours import colour_of, on_white
from dashboard.figures.figure import Cell, Figure, Flow, Mark, Scale, lines_of, split_token, visible

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "↵": r"$\hookleftarrow$",
    "␣": r"\textvisiblespace{}",
    "·": r"$\cdot$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "−": "$-$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
_TO_ESCAPE = re.compile("[" + re.escape("".join(_SPECIAL)) + "]")
MOST_ROWS = 40


def latex(figure: Figure) -> str:
    lines = [
        "% \\usepackage{xcolor, booktabs, textcomp} \\usepackage[T1]{fontenc}",
        "\\begin{figure}",
        "\\setlength{\\fboxsep}{1pt}\\small\\raggedright",
        f"\\textbf{{{escaped(lines_of(figure.title))}}}\\par\\smallskip",
        *map(_scale, figure.scales),
        *map(_flow, figure.flows),
    ]
    if not figure.flows:
        lines += _table(figure)
    said = " ".join((*figure.remarks, figure.caption))
    return "\n".join([*lines, f"\\caption{{{escaped(said)}}}", "\\end{figure}", ""])


def escaped(text: str) -> str:
    return _TO_ESCAPE.sub(lambda found: _SPECIAL[found[0]], visible(text))


def _scale(scale: Scale) -> str:
    steps = "".join(_box(on_white(colour_of(scale.pin), k / 5), "\\rule{0pt}{1ex}\\hspace{0.6em}") for k in range(1, 6))
    return f"{escaped(scale.least)} {steps} {escaped(scale.most)}\\quad {escaped(scale.label)}\\par\\smallskip"


def _box(colour: str, content: str) -> str:
    return f"\\colorbox[HTML]{{{colour[1:].upper()}}}{{{content}}}"


def _flow(flow: Flow) -> str:
    head = f"{escaped(flow.head)}\\quad " if flow.head else ""
    return f"{head}{''.join(map(_mark, flow.marks))}\\par\\smallskip"


def _mark(mark: Mark) -> str:
    before, word, ends = split_token(mark.text)
    text = f"\\strut {escaped(word)}"
    colour = colour_of(None if mark.scale < 0 else mark.scale, is_minus=mark.is_minus)
    token = _box(on_white(colour, mark.heat), text) if mark.heat > 0 else escaped(word)
    token = f"\\underline{{{token}}}" if mark.is_centre else token
    return (
        (" " if before else "") + ("\\allowbreak " if mark.heat > 0 and not before else "") + token + ("\\par " * ends)
    )


def _table(figure: Figure) -> list[str]:
    columns, rows = figure.table.columns, figure.table.rows[:MOST_ROWS]
    kinds = ["p{0.55\\linewidth}" if any(isinstance(row[i], str) for row in rows) else "r" for i in range(len(columns))]
    lines = [f"\\begin{{tabular}}{{{''.join(kinds)}}}", "\\toprule"]
    lines.append(" & ".join(map(escaped, columns)) + " \\\\")
    lines.append("\\midrule")
    lines += [" & ".join(escaped(shown(cell)) for cell in row) + " \\\\" for row in rows]
    return [*lines, "\\bottomrule", "\\end{tabular}"]


def shown(cell: Cell) -> str:
    """Return a cell for people: numbers to four digits."""
    return "" if cell is None else f"{cell:.4g}" if isinstance(cell, float) else str(cell)
