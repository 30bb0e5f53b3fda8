"""Do the features fire as often as they did on Neuronpedia? A figure that tells neighbouring layers apart.

Activations of the next layer are rebuilt nearly as well as the SAE's own, but other features fire. So the share of rows
on which each feature fires is compared with Neuronpedia's `frac_nonzero`, as the cosine of the square roots of both: 1
where all shares are in proportion. Few rows make the cosine smaller, as a share is known the less the fewer they are.
How much smaller is seen from two halves of the documents, which are compared with each other, and taken out again.

Measured on the demo's transformer (benchmarks/layers.py): with texts of the kind that the labels were made from, the
right layer has 0.99 and its neighbours 0.96, and from 9,000 tokens on no other layer reaches 0.975. With texts of one
kind alone the right layer has 0.92 to 0.95; it still has more than its neighbours, but by 0.003 to 0.02. So the figure
chooses among layers; by itself it says little.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from encoder.arrays import F64, I64
from encoder.file.documents import document_starts
from encoder.file.folder import Features
from saefetch.labels import Labels

ALIKE = 0.975
"""From here on the features fire as on Neuronpedia's texts; only the right layer does so, given rows enough."""
UNLIKE = 0.9
"""Below this even the right layer with texts of one kind was never found; layers that are far off are."""
N_TELLING = 4000
"""Rows from which on the figure tells."""


def density_match(features: Features, labels: Labels) -> float | None:
    """Compare all rows that count with Neuronpedia's densities; None where there are too few of either.

    Features whose density is not known are left out, as those that an interrupted download has not fetched yet.
    """
    published = np.array([np.nan if label.frac_nonzero is None else label.frac_nonzero for label in labels], np.float64)
    is_known = np.isfinite(published)
    if 2 * is_known.sum() < len(published):
        return None
    halves, n_rows = count_halves(features)
    return None if n_rows < N_TELLING else match_of(halves[:, is_known], published[is_known])


def in_words(match: float | None) -> str:
    """Say what a match is a sign of, and how sure that is."""
    if match is None:
        return f"unknown: it takes {N_TELLING:,} rows that count, and densities from Neuronpedia"
    if match >= ALIKE:
        return (
            f"{match:.3f} of 1: a sign of the right layer. On the model where this was measured no other layer reached"
            f" {ALIKE}"
        )
    if match >= UNLIKE:
        return (
            f"{match:.3f} of 1: no sign of the right layer or of a wrong one. Neighbouring layers have as much, and so"
            " has the right layer with texts of one kind. Encode the neighbouring layers of the same texts too: the"
            " right layer has the largest"
        )
    return (
        f"{match:.3f} of 1: a sign of another layer, hook or model. On the model where this was measured the right"
        f" layer had more than {UNLIKE} with any texts"
    )


def count_halves(features: Features) -> tuple[I64, int]:
    """Count the rows of two halves of the documents on which each feature fires: [2, F], and all rows.

    A document is in the half that the number of ones in its number says, so that documents which come by turns, such as
    questions and answers, are in both halves.
    """
    halves, n_rows, document = np.zeros((2, features.shape[1]), np.int64), 0, 0
    for shard in range(features.n_shards):
        matrix, mask = features.shard(shard), features.array(shard, "row_mask")
        bounds = [*document_starts(features.array(shard, "row_document"), matrix.shape[0]).tolist(), matrix.shape[0]]
        for start, stop in pairwise(bounds):
            rows = matrix[start:stop]
            if mask is not None:
                rows = rows[np.flatnonzero(mask[start:stop])]
            halves[document.bit_count() % 2] += np.bincount(rows.indices, minlength=features.shape[1])
            n_rows, document = n_rows + rows.shape[0], document + 1
    return halves, n_rows


def match_of(halves: I64, published: F64) -> float | None:
    """Return the cosine of the square roots of counts and of densities, corrected for the noise of the counts.

    Of counts with noise, sqrt(count) = signal + noise. The halves' cosine is |signal|^2 / (|signal|^2 + |noise|^2), and
    all rows together have half of the noise.
    """
    first, second, both = (np.sqrt(counts) for counts in (*halves, halves.sum(axis=0)))
    agreement = _cosine(first, second)
    found = _cosine(both, np.sqrt(published))
    if not agreement or not found:
        return None
    return min(1.0, found * math.sqrt(1 + (1 / agreement - 1) / 2))


def _cosine(a: F64, b: F64) -> float:
    size = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / size if size else 0.0
