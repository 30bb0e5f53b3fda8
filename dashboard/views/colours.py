"""What a document's tokens are coloured by: `l0`, `top` (the strongest feature's value) or `feature:<index>`.

The colour rises between two magnitudes, `floor` and `scale`. For a feature they are 0 and its largest value in the
document. For l0 and top they are quantiles: beside the values of a BOS token the other tokens would have no colour.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from dashboard.errors import RequestError
from dashboard.model.corpus import Corpus
from dashboard.model.documents import Document
from dashboard.model.look import Look
from dashboard.model.sums import strongest_of
from encoder.arrays import F32, AnyArray

SAMPLED_ROWS, N_SAMPLES, SAMPLE_ROWS = 1 << 15, 64, 256
"""`scale` is looked for in all of a document of up to SAMPLED_ROWS, and in N_SAMPLES runs of rows of a longer one."""
ONE_IN = 50
"""One of every ONE_IN values lies below `floor`, and one above `scale`."""


@dataclass(frozen=True, slots=True)
class Colour:
    """`feature` is the feature of `feature:<index>`, None for the other colours."""

    name: str
    feature: int | None = None


def read_colour(look: Look, text: str) -> Colour:
    """Raises: RequestError if the text names no colour, NotFoundError if there is no such feature."""
    if text in ("l0", "top"):
        return Colour(text)
    kind, _, number = text.partition(":")
    if kind != "feature" or not number.isascii() or not number.isdigit() or len(number) > 15:
        raise RequestError(f"colour {text[:40]!r}: expected l0, top or feature:NUMBER")
    return Colour(text, look.check_feature(int(number)))


def values_of(corpus: Corpus, first_row: int, n_rows: int, colour: Colour) -> AnyArray:
    """Return the value of each row for the colour: [T]."""
    if colour.name == "l0":
        return np.diff(corpus.indptr(first_row, n_rows))
    rows = corpus.rows(first_row, first_row + n_rows)
    return _strongest_of_rows(rows) if colour.feature is None else _column_of_rows(rows, colour.feature)


def _strongest_of_rows(rows: csr_matrix) -> F32:
    """Return the value of the largest magnitude of each row, 0 where none is stored: [T]."""
    strongest = np.zeros(rows.shape[0], np.float32)
    filled = np.flatnonzero(np.diff(rows.indptr))
    if len(filled):
        strongest[filled] = strongest_of(rows.data, rows.indptr[filled])
    return strongest


def _column_of_rows(rows: csr_matrix, feature: int) -> F32:
    """Return a feature's value in each row, 0 where it does not fire: [T]."""
    values = np.zeros(rows.shape[0], np.float32)
    at = np.flatnonzero(rows.indices == feature)
    values[np.searchsorted(rows.indptr, at, side="right") - 1] = rows.data[at]
    return values


def scale_of(corpus: Corpus, document: Document, colour: Colour) -> tuple[float, float]:
    """Return `floor` and `scale`, the magnitudes between which the colour rises, of the rows that count."""
    if colour.feature is not None and corpus.index_state == "ready":
        assert corpus.index is not None
        _, values = corpus.index.feature(colour.feature, document.first_row, document.stop_row)
        return 0, float(np.abs(values).max(initial=0))
    samples = [
        np.abs(values_of(corpus, first_row, n_rows, colour))[corpus.counting(first_row, n_rows)]
        for first_row, n_rows in _samples(document)
    ]
    values = np.concatenate([np.zeros(0, np.float32), *samples])
    largest = float(values.max(initial=0))
    if colour.feature is not None or not len(values):
        return 0, largest
    floor, scale = np.quantile(values, (1 / ONE_IN, 1 - 1 / ONE_IN), method="lower").tolist()
    return (floor, scale) if floor < scale else (0, largest)


def _samples(document: Document) -> Iterator[tuple[int, int]]:
    """Yield runs of rows, as first row and number: all of a short document, evenly spread runs of a long one."""
    if document.n_rows <= SAMPLED_ROWS:
        yield document.first_row, document.n_rows
        return
    for at in np.linspace(0, document.n_rows - SAMPLE_ROWS, N_SAMPLES).astype(int).tolist():
        yield document.first_row + at, SAMPLE_ROWS
