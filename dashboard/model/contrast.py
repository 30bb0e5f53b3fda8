"""Selections of documents, and which features fire more in one than in another, on the rows that count."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from dashboard.errors import RequestError
from dashboard.model.corpus import Corpus
from dashboard.model.sums import Ranges, complement, merge
from encoder.arrays import F64, I64

SMOOTHING = 0.5
"""Added to each count, so that a feature that never fires in one of the selections still has a ratio."""
_RANGE = re.compile(r"([0-9]{1,15})(?:-([0-9]{1,15}))?")


def parse_selection(text: str, n_documents: int, name: str) -> Ranges:
    """Read `0-9,12`: documents by number, both ends included. Raises: RequestError, with the parameter's name."""
    ranges = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise RequestError(f"{name} {text[:40]!r}: expected numbers and ranges of documents, such as 0-9,12")
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < n_documents:
            raise RequestError(f"{name} {part[:40]!r}: there are {n_documents:,} documents, counted from 0")
        ranges.append((first, last + 1))
    return merge(ranges)


def parse_selections(a: str, b: str, n_documents: int) -> tuple[Ranges, Ranges]:
    """Read two selections, of which one may be "rest". Raises: RequestError."""
    if a == b == "rest":
        raise RequestError("a and b: only one of them can be the rest")
    parsed = [() if text == "rest" else parse_selection(text, n_documents, name) for text, name in ((a, "a"), (b, "b"))]
    for i, text in enumerate((a, b)):
        if text == "rest":
            parsed[i] = complement(parsed[1 - i], n_documents)
            if not parsed[i]:
                raise RequestError(f"{'ab'[i]}: nothing is left, the other selection has all documents")
    return parsed[0], parsed[1]


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
