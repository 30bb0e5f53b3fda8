"""Which features fire more in one selection of documents than in another, on the rows that count."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dashboard.model.corpus import Corpus
from dashboard.model.sums import Ranges
from encoder.arrays import F64, I64

SMOOTHING = 0.5
"""Added to each count, so that a feature that never fires in one of the selections still has a ratio."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """The features that fire in either of two selections, rising, and how much more they do so in the first.

    log_ratio   log2 of the rate in `a` over the rate in `b`; a rate is (tokens on which it fires + 1/2) / (tokens + 1)
    z           the same in natural logarithms, over its standard error: sqrt of 1 / (tokens + 1/2), summed over the two

    A feature that fires on one token has a large ratio if that token is in `a`; z tells what is not chance.
    """

    columns: I64
    log_ratio: F64
    z: F64


def contrast(corpus: Corpus, a: Ranges, b: Ranges) -> Contrast:
    """Compare how often each feature fires on the tokens of `a` and of `b`."""
    (rows_a, count_a), (rows_b, count_b) = corpus.counts(a), corpus.counts(b)
    columns = np.flatnonzero(count_a + count_b)
    smoothed = [count[columns] + SMOOTHING for count in (count_a, count_b)]
    rates = [count / (n_rows + 1) for count, n_rows in zip(smoothed, (rows_a, rows_b), strict=True)]
    ratio = np.log(rates[0] / rates[1])
    return Contrast(columns, ratio / np.log(2), ratio / np.sqrt(1 / smoothed[0] + 1 / smoothed[1]))
