"""Which features fire on a row, the strongest first, each with its label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from saefetch.labels import Label, Labels

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(frozen=True, slots=True)
class Active:
    """A feature that fires on a row. `share` is its value over the largest that Neuronpedia saw.

    The share is None if the largest is not known, or is in another scale than the value.
    """

    index: int
    value: float
    share: float | None
    description: str | None


def active_of(
    matrix: csr_matrix, labels: Labels, limit: int | None = None, *, is_one_scale: bool
) -> list[list[Active]]:
    """Return the features of each row [T, F], the strongest by magnitude first; of equal ones the lower index.

    `is_one_scale` says whether the values have the scale of Neuronpedia's figures.
    """
    rows: list[list[tuple[int, float]]] = []
    for start, stop in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True):
        values = matrix.data[start:stop]
        order = np.argsort(-np.abs(values), kind="stable")[:limit]
        rows.append(list(zip(matrix.indices[start:stop][order].tolist(), values[order].tolist(), strict=True)))
    known = labels.pick(index for row in rows for index, _ in row)
    return [[_active(index, value, known[index], is_one_scale) for index, value in row] for row in rows]


def _active(index: int, value: float, label: Label, is_one_scale: bool) -> Active:
    largest = label.max_activation if is_one_scale else None
    return Active(index, value, value / largest if largest else None, label.description)
