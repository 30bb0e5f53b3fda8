"""`/api/groups` and `/api/contrast`: groups of documents with names, and all features of a contrast as a plot."""

from __future__ import annotations

import numpy as np

from dashboard.errors import RequestError
from dashboard.model.contrast import contrast as contrast_of
from dashboard.model.groups import Groups, groups_of
from dashboard.model.look import Look
from dashboard.model.selection import parse_selection, parse_selections
from dashboard.model.sums import Ranges
from dashboard.views.parameters import Parameters
from dashboard.views.shapes.groups import ContrastPlot, GroupList, Selected

PARAMETERS = ("a", "b")
CONTRAST_PARAMETERS = ("a", "b")
MOST_POINTS, EXTREMES, N_LABELLED = 1500, 1000, 4


def groups(look: Look, parameters: Parameters) -> GroupList:
    """List the groups, and say how many documents the selections `a` and `b` have, or why they cannot be read."""
    found = Groups() if look.corpus is None else groups_of(look)
    listed = [(name, sum(stop - start for start, stop in ranges)) for name, ranges in found.by_name.items()]
    a, b = (_selected(look, parameters, name, found) for name in PARAMETERS)
    overlap = None
    if a and b and not a["error"] and not b["error"]:
        try:
            _both(look, parameters)
        except RequestError as exc:
            overlap = str(exc)
    return {
        "groups": [{"name": name, "n_documents": n} for name, n in listed],
        "error": found.error,
        "a": a,
        "b": b,
        "overlap": overlap,
    }


def _selected(look: Look, parameters: Parameters, name: str, found: Groups) -> Selected | None:
    text = parameters.text(name)
    if not text or look.corpus is None:
        return None
    if text == "rest":
        return {"n_documents": None, "error": None}
    try:
        ranges = parse_selection(text, look.features.documents, name, found.by_name)
    except RequestError as exc:
        return {"n_documents": None, "error": str(exc)}
    return {"n_documents": sum(stop - start for start, stop in ranges), "error": None}


def _both(look: Look, parameters: Parameters) -> tuple[Ranges, Ranges]:
    texts = parameters.text("a") or "rest", parameters.text("b") or "rest"
    return parse_selections(*texts, look.features.documents, groups_of(look).by_name)


def contrast(look: Look, parameters: Parameters) -> ContrastPlot:
    """Return log ratio and z of the features that differ most surely, and of some of the others, evenly spread."""
    a, b = _both(look, parameters)
    found = look.features.kept.get(("contrast", a, b), lambda: contrast_of(look.features, a, b))
    order = np.argsort(-np.abs(found.z), kind="stable")
    rest = order[EXTREMES:]
    some = rest[:: max(1, -(-len(rest) // (MOST_POINTS - EXTREMES)))]
    shown = np.concatenate([order[:EXTREMES], some])
    by_z = np.argsort(-found.z, kind="stable")
    ends = np.unique(np.concatenate([by_z[:N_LABELLED], by_z[-N_LABELLED:]]))
    named = found.columns[ends].tolist()
    return {
        "total": len(found.columns),
        "index": found.columns[shown],
        "log_ratio": found.log_ratio[shown],
        "z": found.z[shown],
        "labels": list(zip(named, look.descriptions(named), strict=True)),
    }
