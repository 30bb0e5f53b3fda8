"""Every form of a figure, by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from dashboard.figures.figure import Figure
from dashboard.figures.html import html
from dashboard.figures.latex import latex
from dashboard.figures.markdown import markdown
from dashboard.figures.svg import svg
from dashboard.figures.table import as_json, separated


@dataclass(frozen=True, slots=True)
class Format:
    ending: str
    type: str
    write: Callable[[Figure], str]


FORMATS: Mapping[str, Format] = {
    "svg": Format("svg", "image/svg+xml", svg),
    "html": Format("html", "text/html", html),
    "latex": Format("tex", "text/x-tex", latex),
    "markdown": Format("md", "text/markdown", markdown),
    "csv": Format("csv", "text/csv", partial(separated, delimiter=",")),
    "tsv": Format("tsv", "text/tab-separated-values", partial(separated, delimiter="\t")),
    "json": Format("json", "application/json", as_json),
}
