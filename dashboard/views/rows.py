"""`/api/rows/<row>`: one token and all features that fire on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dashboard.model.look import Look
from dashboard.views.excluded import reasons_of
from dashboard.views.parameters import Parameters
from dashboard.views.shapes.documents import Row
from encoder.arrays import F32

PARAMETERS = ()
DOCUMENT_PARAMETERS = ("at",)


def row_of_document(look: Look, parameters: Parameters, number: int) -> Row:
    """Return the row at the position `at` of a document, which no shard that arrives can move."""
    document, at = look.features.documents[number], parameters.number("at")
    return row(look, parameters, document.row(at))


def row(look: Look, parameters: Parameters, number: int) -> Row:
    """Return a row's features, the largest magnitude first; of equal ones the lower index first."""
    corpus = look.features
    document = corpus.documents.of_row(number)
    position = number - document.first_row
    at = document.start + position
    tokens = corpus.features.tokens(document.shard, at, at + 1)
    matrix = corpus.rows(number, number + 1)
    order = np.argsort(-np.abs(matrix.data), kind="stable")
    indices, values = matrix.indices[order], matrix.data[order]
    listed = indices.tolist()
    labels = look.pick(listed)
    known = labels if corpus.is_one_scale else {}
    largest = [known[index].max_activation if index in known else None for index in listed]
    here = None if corpus.index is None else corpus.index.max[indices].tolist()
    return {
        "row": number,
        "document": document.id,
        "address": document.address,
        "position": position,
        "shard": corpus.name(document.shard),
        "token": look.texts(document, position, position + 1)[0],
        "token_id": None if tokens.token_ids is None else int(tokens.token_ids[0]),
        "section": next((name for name, start, stop in document.sections if start <= position < stop), None),
        "masked": tokens.row_mask is not None and not tokens.row_mask[0],
        "reason": reasons_of(corpus.reasons(number, 1))[0],
        "l0": len(listed),
        "active": {
            "index": indices,
            "value": values,
            "label": [labels[index].description if index in labels else None for index in listed],
            "share": _shares(values, largest),
            "share_here": _shares(values, here or [None] * len(listed)),
        },
    }


def _shares(values: F32, largest: Sequence[float | None]) -> list[float | None]:
    """Return each magnitude as a share of the largest one, None where that is not known, or 0 as in a dead feature."""
    return [abs(float(v) / most) if most else None for v, most in zip(values, largest, strict=True)]
