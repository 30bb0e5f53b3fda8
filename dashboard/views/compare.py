"""`/api/compare`: two tokens or two documents, and the features that differ most."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from dashboard.errors import RequestError
from dashboard.model.data import Look
from dashboard.views.documents import preview
from dashboard.views.features import texts_of
from dashboard.views.parameters import Parameters
from encoder.arrays import F64, Int

PARAMETERS = ("a", "b", "offset", "limit")
MOST_FEATURES = 1 << 15
_SIDE = re.compile(r"(row|doc):([0-9]{1,15})")


def compare(look: Look, asked: Parameters) -> dict[str, Any]:
    """List the features that differ, the largest difference a - b first; of equal ones the lower index first.

    A row counts with its activations, a document with the mean of each over all its tokens.
    """
    offset, limit = asked.number("offset"), asked.number("limit", 200, MOST_FEATURES)
    sides = [_side(look, name, asked.text(name)) for name in ("a", "b")]
    columns = np.union1d(sides[0][1], sides[1][1])
    a, b = (_spread(columns, side[1], side[2]) for side in sides)
    difference = a - b
    order = np.argsort(-np.abs(difference), kind="stable")[offset : offset + limit]
    indices = columns[order].tolist()
    labels = look.pick(indices)
    listed = [
        {
            "index": index,
            "label": labels[index].description if index in labels else None,
            "a": a[at],
            "b": b[at],
            "difference": difference[at],
        }
        for at, index in zip(order.tolist(), indices, strict=True)
    ]
    return {"a": sides[0][0], "b": sides[1][0], "features": listed, "total": len(columns)}


def _side(look: Look, name: str, text: str) -> tuple[dict[str, Any], Int, F64]:
    """Return what a side is, its features, rising, and their values."""
    match = _SIDE.fullmatch(text)
    if match is None:
        raise RequestError(f"{name} {text[:40]!r}: expected row:NUMBER or doc:NUMBER")
    corpus, kind, number = look.features, match[1], int(match[2])
    if kind == "doc":
        document = corpus.documents[number]
        sums = corpus.sums(((number, number + 1),))
        title = preview(look, document) or corpus.name(document.shard)
        return {"kind": kind, "id": number, "title": title}, sums.columns, sums.total / max(1, sums.n_rows)
    document = corpus.documents.of_row(number)
    matrix, position = corpus.rows(number, number + 1), number - document.first_row
    (title,) = texts_of(look, document, position, position + 1)
    side = {"kind": kind, "id": number, "title": title, "document": document.id, "position": position}
    return side, matrix.indices, matrix.data.astype(np.float64)


def _spread(columns: Int, own: Int, values: F64) -> F64:
    spread = np.zeros(len(columns))
    spread[np.searchsorted(columns, own)] = values
    return spread
