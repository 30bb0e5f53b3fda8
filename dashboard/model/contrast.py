"""Selections of documents, and which features fire more in one than in another, on the rows that count."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from dashboard.errors import NotFoundError, RequestError
from dashboard.model.corpus import Corpus
from dashboard.model.documents import Documents
from dashboard.model.sums import Ranges, complement, merge
from encoder.arrays import F64, I64

SMOOTHING = 0.5
"""Added to each count, so that a feature that never fires in one of the selections still has a ratio."""
RANGE = ".."
_RANGE = re.compile(r"([0-9]{1,15})(?:-([0-9]{1,15}))?")


def parse_selection(text: str, documents: Documents, name: str) -> Ranges:
    """Read documents by number or by address, and ranges of both, ends included: `0-9,12`, `prose__a..prose__f`.

    Raises: RequestError, with the parameter's name.
    """
    ranges = []
    for part in map(str.strip, text.split(",")):
        match = _RANGE.fullmatch(part)
        first, last = (match[1], match[2]) if match else _ends(part)
        try:
            start, end = documents.find(first), documents.find(last or first)
        except NotFoundError as exc:
            expected = "expected documents by number or name, such as 0-9,12"
            raise RequestError(f"{name} {part[:200]!r}: {exc}; {expected}") from exc
        if end < start:
            raise RequestError(f"{name} {part[:200]!r}: the range ends before it begins")
        ranges.append((start, end + 1))
    return merge(ranges)


def _ends(part: str) -> tuple[str, str]:
    first, _, last = part.partition(RANGE)
    return first, last


def selection_of(documents: Documents, ranges: Ranges) -> str | None:
    """Write a selection by addresses, so that it means the same documents when a shard arrives.

    None where an address would not be read back.
    """
    parts = []
    for start, stop in ranges:
        ends = [documents[number].address for number in {start: 0, stop - 1: 0}]
        if any("," in end or RANGE in end for end in ends):
            return None
        parts.append(RANGE.join(ends))
    return ",".join(parts)


def parse_selections(a: str, b: str, documents: Documents) -> tuple[Ranges, Ranges]:
    """Read two selections, of which one may be "rest". Raises: RequestError."""
    if a == b == "rest":
        raise RequestError("a and b: only one of them can be the rest")
    parsed = [() if text == "rest" else parse_selection(text, documents, name) for text, name in ((a, "a"), (b, "b"))]
    for i, text in enumerate((a, b)):
        if text == "rest":
            parsed[i] = complement(parsed[1 - i], len(documents))
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
