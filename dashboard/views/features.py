"""`/api/features/<index>` and `/top`: what a feature means, and where in these documents it fires most."""

from __future__ import annotations

import numpy as np

from dashboard.model.corpus import Corpus
from dashboard.model.look import Look
from dashboard.views.parameters import Parameters
from dashboard.views.shapes.features import Context, Feature, FeatureHere, TopContexts
from encoder.arrays import F32, I64, Int
from encoder.index import FeatureIndex

PARAMETERS = ()
TOP_PARAMETERS = ("limit", "offset", "around", "distinct", "below", "above")
MOST_CONTEXTS, MOST_AROUND = 200, 200


def feature(look: Look, parameters: Parameters, index: int) -> Feature:
    label = look.pick([look.check_feature(index)]).get(index)
    address = look.neuronpedia
    return {
        "index": index,
        "label": None if label is None else label.description,
        "error": None if label is None else label.error,
        "explanations": [
            {"text": explanation.text, "type": explanation.type, "explainer": explanation.model}
            for explanation in (label.explanations if label else ())
        ],
        "top_positive_tokens": label.top_positive_tokens if label else [],
        "top_negative_tokens": label.top_negative_tokens if label else [],
        "max_activation": None if label is None else label.max_activation,
        "is_one_scale": look.corpus is None or look.corpus.is_one_scale,
        "density_neuronpedia": None if label is None else label.frac_nonzero,
        "neuronpedia": address and f"{address}/{index}",
        "here": None if look.corpus is None else _here(look.corpus, index),
    }


def _here(corpus: Corpus, index: int) -> FeatureHere | None:
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


def top(look: Look, parameters: Parameters, index: int) -> TopContexts:
    """List the tokens on which a feature fires most, the largest magnitude first, each with the tokens around it.

    With `below` only those with a smaller magnitude, with `above` those with this one or a larger; with `distinct` one
    of each document. Rows that do not count are never among them.
    """
    limit, offset = parameters.number("limit", 20, MOST_CONTEXTS), parameters.number("offset")
    around, distinct = parameters.number("around", 12, MOST_AROUND), bool(parameters.number("distinct", 0, 1))
    look.check_feature(index)
    by_feature = look.index
    below, above, k = parameters.value("below"), parameters.value("above"), offset + limit
    if below is None and above is None:
        rows, values, total = _strongest(by_feature, index, k, distinct=distinct)
    else:
        bounds = above or 0, np.inf if below is None else below
        rows, values, total = _sorted(by_feature, index, bounds, distinct=distinct)
    found = zip(rows[offset:k].tolist(), values[offset:k], strict=True)
    return {"total": total, "contexts": [_context(look, index, row, value, around) for row, value in found]}


def _strongest(by_feature: FeatureIndex, index: int, k: int, *, distinct: bool) -> tuple[Int, F32, int]:
    """Return the rows of the k strongest tokens, or of the strongest of k documents, their values, and how many exist.

    How many tokens hold the strongest of k documents is found by trying: it is k at least.
    """
    count = int(by_feature.count[index])
    if not distinct:
        return *by_feature.top(index, k), count
    n_documents, n = int(by_feature.n_documents[index]), k
    while True:
        rows, values = by_feature.top(index, n)
        first = _first_of_each(by_feature.document_of(rows))
        if len(first) >= min(k, n_documents) or n >= count:
            return rows[first[:k]], values[first[:k]], n_documents
        n = max(64, 4 * n)


def _sorted(
    by_feature: FeatureIndex, index: int, bounds: tuple[float, float], *, distinct: bool
) -> tuple[Int, F32, int]:
    """Return the same for all magnitudes within the bounds: every value of the feature is gone through."""
    rows, values = by_feature.feature(index)
    magnitudes = np.abs(values)
    kept = np.flatnonzero((magnitudes >= bounds[0]) & (magnitudes < bounds[1]))
    kept = kept[np.argsort(-magnitudes[kept], kind="stable")]
    if distinct:
        kept = kept[_first_of_each(by_feature.document_of(rows[kept]))]
    return rows[kept], values[kept], len(kept)


def _first_of_each(documents: I64) -> I64:
    """Return the places, rising, at which a document is named for the first time."""
    return np.sort(np.unique(documents, return_index=True)[1])


def _context(look: Look, index: int, row: int, value: np.float32, around: int) -> Context:
    """Return a row with up to `around` tokens before and after it, and the feature's value on each that counts."""
    corpus = look.features
    document = corpus.documents.of_row(row)
    position = row - document.first_row
    start, stop = max(0, position - around), min(document.n_rows, position + around + 1)
    first_row = document.first_row + start
    rows, values_there = look.index.feature(index, first_row, document.first_row + stop)
    values = np.zeros(stop - start, np.float32)
    values[rows - first_row] = values_there
    counted = corpus.counting(first_row, stop - start)
    return {
        "row": row,
        "document": document.id,
        "address": document.address,
        "position": position,
        "value": value,
        "tokens": look.texts(document, start, stop),
        "values": values * counted,
        "masked": None if counted.all() else ~counted,
        "at": position - start,
    }
