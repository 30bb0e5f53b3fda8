"""`/api/features/<index>/documents` and `/together`: the documents in which a feature fires, and what fires with it."""

from __future__ import annotations

import numpy as np

from dashboard.model.look import Look
from dashboard.model.occurrences import Lifted, lifted_on
from dashboard.views.parameters import Parameters
from dashboard.views.shapes.features import FeatureDocument, FeatureDocuments, Together, TogetherFeature
from encoder.arrays import F32, I64

DOCUMENTS_PARAMETERS = ("sort", "offset", "limit")
TOGETHER_PARAMETERS = ("limit",)
SORTS = ("sum", "count", "max", "share")
MOST_DOCUMENTS, MOST_FEATURES, N_BINS = 200, 200, 60


def documents(look: Look, parameters: Parameters, index: int) -> FeatureDocuments:
    """List the documents in which a feature fires, the largest sum of magnitudes first, or count, max or share."""
    offset, limit = parameters.number("offset"), parameters.number("limit", 20, MOST_DOCUMENTS)
    sort = parameters.choice("sort", SORTS, "sum")
    rows, values = look.index.feature(look.check_feature(index))
    corpus, magnitudes = look.features, np.abs(values)
    numbers, starts = np.unique(corpus.documents.of_rows(rows), return_index=True)
    if not len(numbers):
        return {"total": 0, "documents": []}
    counts = np.diff([*starts, len(rows)])
    figures = {
        "sum": np.add.reduceat(magnitudes.astype(np.float64), starts),
        "count": counts,
        "max": np.maximum.reduceat(magnitudes, starts),
        "share": counts / np.maximum(1, corpus.documents.counted[numbers]),
    }
    listed: list[FeatureDocument] = []
    for at in np.argsort(-figures[sort], kind="stable")[offset : offset + limit].tolist():
        document, within = corpus.documents[int(numbers[at])], slice(starts[at], starts[at] + counts[at])
        listed.append(
            {
                "document": document.id,
                "address": document.address,
                "preview": look.preview(document),
                "count": int(counts[at]),
                "sum": float(figures["sum"][at]),
                "max": float(figures["max"][at]),
                "share": float(figures["share"][at]),
                "strip": _strip(rows[within] - document.first_row, magnitudes[within], document.n_rows),
            }
        )
    return {"total": len(numbers), "documents": listed}


def _strip(positions: I64, magnitudes: F32, n_rows: int) -> F32:
    """Return the largest magnitude in each of N_BINS equal parts of a document."""
    strip = np.zeros(N_BINS, np.float32)
    np.maximum.at(strip, positions.astype(np.int64) * N_BINS // max(1, n_rows), magnitudes)
    return strip


def together(look: Look, parameters: Parameters, index: int) -> Together:
    """List the features that fire on the same tokens, by PMI: how many times as often as by chance, as a log2."""
    limit = parameters.number("limit", 12, MOST_FEATURES)
    rows, _ = look.index.feature(look.check_feature(index))

    def find() -> Lifted:
        return lifted_on(look, rows.astype(np.int64))

    found = look.features.kept.get(("together", index), find)
    others = found.columns != index
    indices = found.columns[others][:limit].tolist()
    listed: list[TogetherFeature] = [
        {"index": other, "label": label, "hits": hits, "pmi": pmi}
        for other, label, hits, pmi in zip(
            indices,
            look.descriptions(indices),
            found.hits[others][:limit].tolist(),
            np.log2(found.lift[others][:limit]).tolist(),
            strict=True,
        )
    ]
    return {"total": int(others.sum()), "looked_at": found.n, "features": listed}
