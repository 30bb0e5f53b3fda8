"""`/api/rows/<row>`: one token and all features that fire on it."""

from __future__ import annotations

from typing import Any

import numpy as np

from dashboard.model.data import Look
from dashboard.views.parameters import Parameters

PARAMETERS = ()


def row(look: Look, asked: Parameters, number: int) -> dict[str, Any]:
    """Return a row's features, the strongest first; of equal ones the lower index first."""
    corpus = look.features
    document = corpus.documents.of_row(number)
    position = number - document.first_row
    at = document.start + position
    said = corpus.features.tokens(document.shard, at, at + 1)
    matrix = corpus.rows(number, number + 1)
    order = np.argsort(-matrix.data, kind="stable")
    index, value = matrix.indices[order], matrix.data[order]
    labels = look.pick(index.tolist())
    largest = [labels[i].max_activation if i in labels else None for i in index.tolist()]
    here = None if corpus.index is None else corpus.index.max[index]
    return {
        "row": number,
        "document": document.id,
        "position": position,
        "shard": corpus.name(document.shard),
        "token": look.vocabulary.texts(said, position, 1)[0],
        "token_id": None if said.token_ids is None else said.token_ids[0],
        "section": next((name for name, start, stop in document.sections if start <= position < stop), None),
        "masked": said.row_mask is not None and not said.row_mask[0],
        "l0": len(index),
        "active": {
            "index": index,
            "value": value,
            "label": [labels[i].description if i in labels else None for i in index.tolist()],
            "share": [float(v) / most if most else None for v, most in zip(value, largest, strict=True)],
            "share_here": [None] * len(index) if here is None else value / here,
        },
    }
