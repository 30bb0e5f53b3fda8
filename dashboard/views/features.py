"""`/api/features/<index>` and `/top`: what a feature means, and where in this data it fires most."""

from __future__ import annotations

from typing import Any

import numpy as np

from dashboard.corpus import Corpus
from dashboard.data import Look
from dashboard.documents import Document
from dashboard.parameters import Parameters
from dashboard.views.documents import column_of_rows

Array = np.ndarray[Any, Any]

PARAMETERS = ()
TOP_PARAMETERS = ("limit", "offset", "around", "distinct")
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
    here: dict[str, Any] = corpus.kept.get(("here", index), lambda: _figures(corpus, index))
    return here


def _figures(corpus: Corpus, index: int) -> dict[str, Any]:
    assert corpus.index is not None
    rows, values = corpus.index.column(index)
    largest = float(values.max()) if len(values) else 0.0
    counts, edges = np.histogram(values, bins=N_BINS, range=(0.0, largest or 1.0))
    return {
        "count": len(values),
        "density": len(values) / max(1, corpus.n_rows),
        "max": largest,
        "mean": float(values.mean(dtype=np.float64)) if len(values) else 0.0,
        "n_documents": len(np.unique(corpus.documents.of_rows(rows))),
        "histogram": {"edges": edges, "counts": counts},
    }


def top(look: Look, asked: Parameters, index: int) -> dict[str, Any]:
    """List the tokens on which a feature fires most, the strongest first, each with the tokens around it."""
    limit, offset = asked.number("limit", 20, MOST_CONTEXTS), asked.number("offset")
    around, distinct = asked.number("around", 12, MOST_AROUND), asked.number("distinct", 0, 1)
    corpus = look.features
    look.check_feature(index)
    if corpus.index is None:
        raise look.need_index()
    rows, values = corpus.index.column(index)
    order = corpus.kept.get(("top", index, distinct), lambda: _order(corpus, rows, values, distinct=bool(distinct)))
    chosen = order[offset : offset + limit]
    return {"total": len(order), "contexts": contexts(look, index, rows[chosen], values[chosen], around)}


def _order(corpus: Corpus, rows: Array, values: Array, *, distinct: bool) -> Array:
    order = strongest_first(values)
    if distinct:
        _, first = np.unique(corpus.documents.of_rows(rows[order]), return_index=True)
        order = order[np.sort(first)]
    return order


def strongest_first(values: Array) -> Array:
    """Return the order of a column's entries: the strongest first, of equal ones the lower row first."""
    return np.argsort(-values, kind="stable")


def contexts(look: Look, index: int, rows: Array, values: Array, around: int) -> list[dict[str, Any]]:
    """Show a feature's rows, each with up to `around` tokens before and after it, and its value on each of them."""
    return [_context(look, index, int(row), value, around) for row, value in zip(rows, values, strict=True)]


def _context(look: Look, index: int, row: int, value: np.float32, around: int) -> dict[str, Any]:
    corpus = look.features
    document = corpus.documents.of_row(row)
    position = row - document.first_row
    start, stop = max(0, position - around), min(document.n_rows, position + around + 1)
    matrix = corpus.rows(document.first_row + start, document.first_row + stop)
    return {
        "row": row,
        "document": document.id,
        "position": position,
        "value": value,
        "tokens": texts_of(look, document, start, stop),
        "values": column_of_rows(matrix, index),
        "at": position - start,
    }


def texts_of(look: Look, document: Document, start: int, stop: int) -> list[str]:
    """Return the texts of the tokens [start, stop) of a document."""
    said = look.features.features.tokens(document.shard, document.start + start, document.start + stop)
    return look.vocabulary.texts(said, start, stop - start)
