"""`/api/features/<index>` and `/top`: what a feature means, and where in this data it fires most."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from dashboard.model.corpus import Corpus
from dashboard.model.data import Look
from dashboard.model.documents import Document
from dashboard.views.parameters import Parameters
from encoder.arrays import F32, I64, Int
from encoder.index import FeatureIndex

Column = Callable[[int, int], tuple[Int, F32]]
"""A feature's rows in [start, stop), rising, and its values there."""

PARAMETERS = ()
TOP_PARAMETERS = ("limit", "offset", "around", "distinct", "below")
MOST_CONTEXTS, MOST_AROUND = 200, 200
N_BINS = 30


def feature(look: Look, asked: Parameters, index: int) -> dict[str, Any]:
    label = look.pick([look.check_feature(index)]).get(index)
    page = look.neuronpedia
    return {
        "index": index,
        "label": label and label.description,
        "error": label and label.error,
        "explanations": [
            {"text": one.text, "type": one.type, "explainer": one.model}
            for one in (label.explanations if label else ())
        ],
        "top_positive_tokens": label.top_positive_tokens if label else [],
        "top_negative_tokens": label.top_negative_tokens if label else [],
        "max_activation": label and label.max_activation,
        "density_neuronpedia": label and label.frac_nonzero,
        "neuronpedia": page and f"{page}/{index}",
        "here": None if look.corpus is None else _here(look.corpus, index),
    }


def _here(corpus: Corpus, index: int) -> dict[str, Any] | None:
    if corpus.index is None:
        return None
    edges, counts = corpus.index.histogram(index)
    return {
        "count": corpus.index.count[index],
        "density": corpus.index.density[index],
        "max": corpus.index.max[index],
        "mean": corpus.index.mean[index],
        "n_documents": corpus.index.n_documents[index],
        "histogram": {"edges": edges, "counts": counts},
    }


def top(look: Look, asked: Parameters, index: int) -> dict[str, Any]:
    """List the tokens on which a feature fires most, the strongest first, each with the tokens around it.

    With `below`, only those with a smaller value; with `distinct`, one of each document.
    """
    limit, offset = asked.number("limit", 20, MOST_CONTEXTS), asked.number("offset")
    around, distinct = asked.number("around", 12, MOST_AROUND), asked.number("distinct", 0, 1)
    corpus = look.features
    look.check_feature(index)
    if corpus.index is None:
        raise look.need_index()
    below, k = asked.value("below"), offset + limit
    if below is None:
        rows, values, total = _strongest(corpus.index, index, k, distinct=bool(distinct))
    else:
        rows, values, total = _strongest_below(corpus.index, index, k, below, distinct=bool(distinct))
    column = partial(corpus.index.feature, index)
    return {"total": total, "contexts": contexts(look, rows[offset:], values[offset:], around, column)}


def _strongest(index: FeatureIndex, feature: int, k: int, *, distinct: bool) -> tuple[Int, F32, int]:
    """Return the rows of the k strongest tokens, or of the strongest of k documents, their values, how many there are.

    How many tokens hold the strongest of k documents is found by trying: it is k at least.
    """
    count = int(index.count[feature])
    if not distinct:
        return *index.top(feature, k), count
    n_documents, n = int(index.n_documents[feature]), k
    while True:
        rows, values = index.top(feature, n)
        first = first_of_each(index.document_of(rows))
        if len(first) >= min(k, n_documents) or n >= count:
            return rows[first[:k]], values[first[:k]], n_documents
        n = max(64, 4 * n)


def _strongest_below(
    index: FeatureIndex, feature: int, k: int, below: float, *, distinct: bool
) -> tuple[Int, F32, int]:
    """Return the same of the values below `below`: all that the feature has are looked at."""
    rows, values = index.feature(feature)
    kept = np.flatnonzero(values < below)
    kept = kept[strongest_first(values[kept])]
    if distinct:
        kept = kept[first_of_each(index.document_of(rows[kept]))]
    return rows[kept[:k]], values[kept[:k]], len(kept)


def strongest_first(values: F32) -> I64:
    """Return the order of a column's entries: the strongest first, of equal ones the lower row first."""
    return np.argsort(-values, kind="stable")


def first_of_each(documents: I64) -> I64:
    """Return the places, rising, at which a document is named for the first time."""
    return np.sort(np.unique(documents, return_index=True)[1])


def contexts(look: Look, rows: Int, values: F32, around: int, column: Column) -> list[dict[str, Any]]:
    """Show a feature's rows, each with up to `around` tokens before and after it, and its value on each of them."""
    return [_context(look, int(row), value, around, column) for row, value in zip(rows, values, strict=True)]


def _context(look: Look, row: int, value: np.float32, around: int, column: Column) -> dict[str, Any]:
    document = look.features.documents.of_row(row)
    position = row - document.first_row
    start, stop = max(0, position - around), min(document.n_rows, position + around + 1)
    fires, own = column(document.first_row + start, document.first_row + stop)
    seen = np.zeros(stop - start, np.float32)
    seen[fires - (document.first_row + start)] = own
    return {
        "row": row,
        "document": document.id,
        "position": position,
        "value": value,
        "tokens": texts_of(look, document, start, stop),
        "values": seen,
        "at": position - start,
    }


def texts_of(look: Look, document: Document, start: int, stop: int) -> list[str]:
    """Return the texts of the tokens [start, stop) of a document."""
    said = look.features.features.tokens(document.shard, document.start + start, document.start + stop)
    return look.vocabulary.texts(said, start, stop - start)
