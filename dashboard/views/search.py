"""`/api/search`: features by their labels' words, by their figures, by where they fire."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from dashboard.errors import RequestError
from dashboard.model.contrast import Contrast, contrast
from dashboard.model.downloads import count
from dashboard.model.figures import FIGURES, figures_of, figures_of_some, order_of
from dashboard.model.groups import groups_of
from dashboard.model.look import Look
from dashboard.model.selection import parse_selections, selection_of
from dashboard.views.parameters import Parameters
from dashboard.views.shapes.features import FeatureList, FoundFeature
from encoder.arrays import F64, I64
from saefetch import search as full_text
from saefetch.errors import UsageError

PARAMETERS = ("query", "sort", "order", "document", "a", "b", "within", "offset", "limit")
SORTS = ("match", "here", "here_count", "z", "log_ratio", "density", "max", "count", "index")
MOST_FEATURES = 1000
MOST_MATCHES = 2000
"""How many of the best matches are looked at. Where there are more, the answer has no total."""


@dataclass(slots=True)
class _Found:
    """Features in their order, None for all features by index, and what is known of some of them by feature.

    `marked` are labels with the matched words marked, `here` sums of values in a document and
    `here_count` tokens of it, `log_ratio` and `z` figures
    of a contrast of the selections `a` and `b`. `is_cut` says that there are more matches than were looked at, `meant`
    is the query spelt otherwise.
    """

    indices: I64 | None = None
    marked: dict[int, str] = field(default_factory=dict)
    is_cut: bool = False
    meant: str | None = None
    here: dict[int, float] | None = None
    here_count: dict[int, int] | None = None
    log_ratio: dict[int, float] | None = None
    z: dict[int, float] | None = None
    a: str | None = None
    b: str | None = None

    def narrow(self, columns: I64) -> None:
        """Keep only those among `columns`, in the order they are in."""
        self.indices = columns if self.indices is None else self.indices[np.isin(self.indices, columns)]


def search(look: Look, parameters: Parameters) -> FeatureList:
    """List features: those whose labels match `query`, that fire in `document`, or in one of `a` and `b`.

    `sort=match` is the best match first. Without a query it is what fires most in the document, or most surely more in
    `a` than in `b`, or the index.
    """
    offset, limit = parameters.number("offset"), parameters.number("limit", 50, MOST_FEATURES)
    sort = parameters.choice("sort", SORTS, "match")
    order = parameters.choice("order", ("asc", "desc"), "asc" if sort == "index" else "desc")
    found = _find(look, parameters)
    page, total = _sorted(found, look, sort, order == "asc")
    chosen = page[offset : offset + limit].tolist()
    labels = look.pick(chosen)
    figures = figures_of_some(look, chosen, labels)
    listed: list[FoundFeature] = [
        {
            "index": index,
            "label": labels[index].description if index in labels else None,
            "marked": _pieces(found.marked[index]) if index in found.marked else None,
            "density": known.density,
            "max": known.max,
            "count": known.count,
            "here": None if found.here is None else found.here[index],
            "here_count": None if found.here_count is None else found.here_count[index],
            "log_ratio": None if found.log_ratio is None else found.log_ratio[index],
            "z": None if found.z is None else found.z[index],
        }
        for index, known in zip(chosen, figures.of, strict=True)
    ]
    return {
        "total": None if found.is_cut else total,
        "labels_here": _labels_here(look),
        "labels_of": 0 if look.labels is None else len(look.labels),
        "a": found.a,
        "b": found.b,
        "figures_of": figures.source,
        "did_you_mean": found.meant,
        "features": listed,
    }


def _labels_here(look: Look) -> int | None:
    """Return of how many features the download has brought an answer, None where it is complete or there is none."""
    if look.store is None:
        return None
    progress = count(look.store, look.labels_folder, look.kept).progress
    return progress.total_features - progress.remaining if progress.remaining else None


def _find(look: Look, parameters: Parameters) -> _Found:
    found = _Found()
    query = parameters.text("query")
    if query.strip():
        _match(look, query, found)
    if "document" in parameters:
        corpus = look.features
        number = corpus.documents.find(parameters.text("document"))
        sums = corpus.sums(((number, number + 1),))
        found.here = dict(zip(sums.columns.tolist(), sums.mass.tolist(), strict=True))
        found.here_count = dict(zip(sums.columns.tolist(), sums.count.tolist(), strict=True))
        found.narrow(sums.columns)
    if "a" in parameters or "b" in parameters:
        corpus = look.features
        texts = parameters.text("a") or "rest", parameters.text("b") or "rest"
        groups = groups_of(look).by_name
        a, b = parse_selections(*texts, corpus.documents, groups)
        found.a, found.b = (
            text if text == "rest" or text in groups else selection_of(corpus.documents, ranges)
            for text, ranges in zip(texts, (a, b), strict=True)
        )
        compared = corpus.kept.get(("contrast", a, b), lambda: contrast(corpus, a, b))
        if "within" in parameters:
            compared = _within(compared, parameters)
        columns = compared.columns.tolist()
        found.log_ratio = dict(zip(columns, compared.log_ratio.tolist(), strict=True))
        found.z = dict(zip(columns, compared.z.tolist(), strict=True))
        found.narrow(compared.columns)
    return found


def _within(compared: Contrast, parameters: Parameters) -> Contrast:
    """Keep the features of a part of the plot: log ratio and z, each from and to."""
    text = parameters.text("within")
    try:
        left, right, low, high = map(float, text.split(","))
    except ValueError as exc:
        raise RequestError(f"within {text[:60]!r}: expected log ratio and z from and to, such as 1,4,2,30") from exc
    kept = (compared.log_ratio >= left) & (compared.log_ratio <= right) & (compared.z >= low) & (compared.z <= high)
    return Contrast(compared.columns[kept], compared.log_ratio[kept], compared.z[kept])


def _match(look: Look, query: str, found: _Found) -> None:
    found.indices = np.zeros(0, np.int64)
    if look.store is None:
        return
    try:
        matches = full_text.search(look.store, query, MOST_MATCHES, is_typed=True)
    except UsageError:  # no word yet, just a quotation mark or a dot
        return
    found.indices = np.array([match.index for match in matches], np.int64)
    found.marked = {match.index: match.marked for match in matches}
    found.is_cut = len(matches) == MOST_MATCHES
    found.meant = full_text.suggest(look.store, query)


def _sorted(found: _Found, look: Look, sort: str, rising: bool) -> tuple[I64, int]:
    """Return the features in the order asked for, and how many there are."""
    if sort == "match" and not found.marked:  # what matches best without words
        sort = "here" if found.here is not None else "z" if found.z is not None else "index"
        rising = rising != (sort == "index")
    indices = found.indices
    if indices is None:
        if sort in FIGURES:
            return figures_of(look).order(sort, rising=rising), look.d_sae
        indices = np.arange(look.d_sae)
    if sort == "match":
        return indices[:: -1 if rising else 1], len(indices)
    if sort == "index":
        return np.sort(indices)[:: 1 if rising else -1], len(indices)
    values = np.abs(figures_of(look).by_name[sort][indices]) if sort in FIGURES else _known(found, sort, indices)
    return indices[order_of(values, rising=rising)], len(indices)


def _known(found: _Found, sort: str, indices: I64) -> F64:
    known = {"here": found.here, "here_count": found.here_count, "z": found.z, "log_ratio": found.log_ratio}[sort]
    if known is None:
        raise RequestError(f"sort {sort}: goes with {'document' if sort.startswith('here') else 'a and b'}")
    return np.array([known[index] for index in indices.tolist()], np.float64)


def _pieces(marked: str) -> list[tuple[str, bool]]:
    """Split a marked text into pieces, each with whether it matched."""
    begin, end = full_text.MARK
    pieces = []
    for i, part in enumerate(re.split(f"{begin}|{end}", marked)):
        if part:
            pieces.append((part, i % 2 == 1))
    return pieces
