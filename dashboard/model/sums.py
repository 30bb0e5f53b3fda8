"""Sums over rows by feature, and ranges of documents or rows.

A feature may fire with a negative value (AbsTopK). What is strongest goes by magnitude, and keeps its sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from encoder.arrays import F32, F64, I64, AnyArray, Int

Ranges = tuple[tuple[int, int], ...]
"""Numbers of documents, or of rows, as [start, stop) in rising order."""


@dataclass(frozen=True, slots=True)
class Sums:
    """Over some rows that count, for each feature that fires on one of them.

    n_rows      how many rows these are
    columns     the features, rising
    count       int64: on how many rows the feature fires
    total       float64: the sum of its values
    mass        float64: the sum of their magnitudes
    strongest   float32: the value of the largest magnitude
    """

    n_rows: int
    columns: I64
    count: I64
    total: F64
    mass: F64
    strongest: F32

    def dense(self, name: str, d_sae: int) -> AnyArray:
        """Spread one of the arrays out over all features."""
        values = getattr(self, name)
        spread = np.zeros(d_sae, values.dtype)
        spread[self.columns] = values
        return spread


class Adding:
    """Sums that grow by blocks of rows."""

    def __init__(self, d_sae: int) -> None:
        self._n_rows = 0
        self._count = np.zeros(d_sae, np.int64)
        self._total, self._mass = np.zeros(d_sae), np.zeros(d_sae)
        self._strongest = np.zeros(d_sae, np.float32)

    def add(self, block: csr_matrix) -> None:
        self._n_rows += block.shape[0]
        by_feature = block.tocsc()
        lengths = np.diff(by_feature.indptr)
        columns = np.flatnonzero(lengths)
        if not len(columns):
            return
        starts, values = by_feature.indptr[columns], by_feature.data.astype(np.float64)
        total = np.add.reduceat(values, starts)
        self._count[columns] += lengths[columns]
        self._total[columns] += total
        self._mass[columns] += np.add.reduceat(np.abs(values), starts) if values.min() < 0 else total
        before, here = self._strongest[columns], strongest_of(by_feature.data, starts)
        self._strongest[columns] = np.where(np.abs(here) > np.abs(before), here, before)

    def sums(self) -> Sums:
        columns = np.flatnonzero(self._count)
        return Sums(
            self._n_rows,
            columns,
            self._count[columns],
            self._total[columns],
            self._mass[columns],
            self._strongest[columns],
        )


def strongest_of(values: F32, starts: Int) -> F32:
    """Return the value of the largest magnitude of each stretch of `values`, which begin at `starts`; none is empty."""
    largest = np.maximum.reduceat(values, starts)
    if values.min() >= 0:  # as of nearly every SAE
        return largest
    smallest = np.minimum.reduceat(values, starts)
    return np.where(largest >= -smallest, largest, smallest)


def complement(ranges: Ranges, n: int) -> Ranges:
    """Return what is left of [0, n); `ranges` rise and do not touch."""
    edges = [0, *(edge for bounds in ranges for edge in bounds), n]
    return merge(list(zip(edges[::2], edges[1::2], strict=True)))


def merge(ranges: Sequence[tuple[int, int]]) -> Ranges:
    """Put ranges in order and join those that touch or overlap."""
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(stop, merged[-1][1])
        elif start < stop:
            merged.append((start, stop))
    return tuple(merged)
