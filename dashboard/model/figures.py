"""How often and how strongly each feature fires: in this data by its index, else on Neuronpedia by the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dashboard.model.cache import Cache
from dashboard.model.downloads import version_of
from dashboard.model.look import Look
from encoder.arrays import F64, I64
from saefetch.labels import Label
from saefetch.store.store import Store

Source = Literal["here", "neuronpedia"]

FIGURES = ("density", "max", "count")


class Figures:
    """Figures of every feature, NaN where a figure is not known: `by_name` holds float64 [F] for each of FIGURES.

    `source` is "here", "neuronpedia", or None where nothing is known.
    """

    def __init__(self, source: Source | None, by_name: Mapping[str, F64]) -> None:
        self.source = source
        self.by_name = by_name
        self._orders = Cache(2 * len(FIGURES))

    def order(self, name: str, *, rising: bool) -> I64:
        """Return all features in the order of a figure's magnitude, those of which it is not known last."""
        return self._orders.get((name, rising), lambda: order_of(np.abs(self.by_name[name]), rising=rising))


def order_of(values: F64, *, rising: bool) -> I64:
    """Return the order of `values`; of equal ones the first comes first, and NaN comes last either way."""
    return np.argsort(values if rising else -values, kind="stable")


def figures_of(look: Look) -> Figures:
    if look.corpus is not None and look.corpus.index is not None:
        return look.corpus.kept.get("figures", lambda: _here(look))
    if look.labels is not None and look.store is not None:
        store, d_sae = look.store, len(look.labels)
        key, version = ("figures", look.labels_folder), (*version_of(store), d_sae)
        return look.kept.get(key, lambda: _neuronpedias(store, d_sae), version)
    return Figures(None, dict.fromkeys(FIGURES, np.full(look.d_sae, np.nan)))


@dataclass(frozen=True, slots=True)
class Known:
    """The figures of one feature, None where one is not known."""

    density: float | None = None
    max: float | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class SomeFigures:
    """The figures of a few features, in their order."""

    source: Source | None
    of: list[Known]


def figures_of_some(look: Look, indices: Sequence[int], labels: Mapping[int, Label]) -> SomeFigures:
    """Return what `figures_of` knows of these features without a look at all of them."""
    if look.corpus is not None and look.corpus.index is not None:
        index = look.corpus.index
        return SomeFigures("here", [Known(index.density[i], index.max[i], index.count[i]) for i in indices])
    known = [
        Known(label.frac_nonzero, label.max_activation) if label is not None else Known()
        for label in map(labels.get, indices)
    ]
    return SomeFigures(None if look.labels is None else "neuronpedia", known)


def _here(look: Look) -> Figures:
    index = look.features.index
    assert index is not None  # `figures_of` has looked
    return Figures("here", {name: getattr(index, name).astype(np.float64) for name in FIGURES})


def _neuronpedias(store: Store, d_sae: int) -> Figures:
    rows = np.fromiter(store.figures(d_sae), [("index", "<i8"), ("max", "<f8"), ("density", "<f8")])
    figures = {name: np.full(d_sae, np.nan) for name in FIGURES}
    for name in ("max", "density"):
        figures[name][rows["index"]] = np.where(np.isinf(rows[name]), np.nan, rows[name])
    return Figures("neuronpedia", figures)
