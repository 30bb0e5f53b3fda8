"""How often and how strongly each feature fires: in this data by its index, else on Neuronpedia by the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dashboard.model.data import Look
from dashboard.model.progress import version_of
from encoder.arrays import F64, I64, AnyArray
from saefetch.labels import Label
from saefetch.store.store import LIVE, Store

FIGURES = ("density", "max", "count")
_UNKNOWN = "9e999"
"""Infinity to SQLite: no figure in a store is infinite."""
_FIGURES = (
    f"SELECT idx, ifnull(max_activation, {_UNKNOWN}), ifnull(frac_nonzero, {_UNKNOWN}) FROM features"
    f" WHERE idx < ? AND {LIVE} ORDER BY idx, origin"
)


class Figures:
    """Figures of every feature, NaN where one is not known: `density`, `largest`, `count` float64 [F].

    `source` is "here", "neuronpedia", or None where nothing is known.
    """

    def __init__(self, source: str | None, density: F64, largest: F64, count: F64) -> None:
        self.source = source
        self.by_name = {"density": density, "max": largest, "count": count}
        self._orders: dict[tuple[str, bool], I64] = {}

    def order(self, name: str, *, rising: bool) -> I64:
        """Return all features in the order of a figure, those of which it is not known last; kept."""
        if (name, rising) not in self._orders:
            self._orders[name, rising] = order_of(self.by_name[name], rising=rising)
        return self._orders[name, rising]


def order_of(values: F64, *, rising: bool) -> I64:
    """Return the order of `values`; of equal ones the first comes first, and NaN comes last either way."""
    return np.argsort(values if rising else -values, kind="stable")


def figures_of(look: Look) -> Figures:
    if look.corpus is not None and look.corpus.index is not None:
        return look.corpus.kept.get("figures", lambda: _here(look))
    if look.labels is not None and look.store is not None:
        store, n_features = look.store, len(look.labels)
        key, version = ("figures", look.labels_folder), (*version_of(store), n_features)
        return look.kept.get(key, lambda: _neuronpedias(store, n_features), version)
    unknown = np.full(look.n_features, np.nan)
    return Figures(None, unknown, unknown, unknown)


@dataclass(frozen=True, slots=True)
class SomeFigures:
    """The figures of a few features, in their order, None where one is not known."""

    source: str | None
    of: list[dict[str, float | int | None]]


def figures_of_some(look: Look, indices: Sequence[int], labels: Mapping[int, Label]) -> SomeFigures:
    """Return what `figures_of` knows of these features without a look at all of them."""
    if look.corpus is not None and look.corpus.index is not None:
        index = look.corpus.index
        arrays: dict[str, AnyArray] = {"density": index.density, "max": index.max, "count": index.count}
        return SomeFigures("here", [{name: values[i] for name, values in arrays.items()} for i in indices])
    figures: list[dict[str, float | int | None]] = []
    for one in map(labels.get, indices):
        density, largest = (one.frac_nonzero, one.max_activation) if one is not None else (None, None)
        figures.append({"density": density, "max": largest, "count": None})
    return SomeFigures(None if look.labels is None else "neuronpedia", figures)


def _here(look: Look) -> Figures:
    corpus = look.features
    assert corpus.index is not None
    index = corpus.index
    return Figures("here", index.density, index.max.astype(np.float64), index.count.astype(np.float64))


def _neuronpedias(store: Store, n_features: int) -> Figures:
    rows = np.fromiter(store.query(_FIGURES, (n_features,)), [("index", "<i8"), ("largest", "<f8"), ("density", "<f8")])
    figures = {name: np.full(n_features, np.nan) for name in ("largest", "density")}
    for name, values in figures.items():
        values[rows["index"][::-1]] = rows[name][::-1]  # of several rows of a feature the first one counts
        values[np.isinf(values)] = np.nan
    return Figures("neuronpedia", figures["density"], figures["largest"], np.full(n_features, np.nan))
