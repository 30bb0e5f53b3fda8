"""`/api/compare`: two tokens or two documents, and the features that differ most."""

from __future__ import annotations

import re
from typing import cast

import numpy as np

from dashboard.errors import RequestError
from dashboard.model.corpus import Corpus
from dashboard.model.groups import groups_of
from dashboard.model.look import Look
from dashboard.model.selection import parse_selection, selection_of
from dashboard.views.excluded import reasons_of
from dashboard.views.parameters import Parameters
from dashboard.views.shapes.features import Comparison, FeatureDifference, Side
from encoder.arrays import F64, Int

PARAMETERS = ("a", "b", "offset", "limit")
MOST_FEATURES = 1 << 15
_SIDE = re.compile(r"(row|docs?):(.+)", re.DOTALL)
_TOKEN = re.compile(r"(?:(.+)@|([0-9]{1,15}):)([0-9]{1,15})", re.DOTALL)
"""A token by its document's address or number and its place there: tales:3@17, or 3:17."""


def compare(look: Look, parameters: Parameters) -> Comparison:
    """List the features that differ, the largest difference a - b first; of equal ones the lower index first.

    A row stands for its activations, documents for the mean of each feature over their rows that count.
    """
    offset, limit = parameters.number("offset"), parameters.number("limit", 200, MOST_FEATURES)
    sides = [_side(look, name, parameters.text(name)) for name in ("a", "b")]
    columns = np.union1d(sides[0][1], sides[1][1])
    a, b = (_spread(columns, indices, values) for _, indices, values in sides)
    difference = a - b
    order = np.argsort(-np.abs(difference), kind="stable")[offset : offset + limit]
    indices = columns[order].tolist()
    listed: list[FeatureDifference] = [
        {"index": index, "label": label, "a": a[at], "b": b[at], "difference": difference[at]}
        for at, index, label in zip(order, indices, look.descriptions(indices), strict=True)
    ]
    return {"total": len(columns), "a": sides[0][0], "b": sides[1][0], "features": listed}


def _side(look: Look, name: str, text: str) -> tuple[Side, Int, F64]:
    """Return what a side is, its features, rising, and their values."""
    match = _SIDE.fullmatch(text)
    if match is None:
        expected = "expected doc:DOCUMENT, row:DOCUMENT@POSITION or row:NUMBER, docs:GROUP or docs:SELECTION"
        raise RequestError(f"{name} {text[:40]!r}: {expected}")
    corpus = look.features
    if match[1] == "docs":
        return _side_of_several(look, name, match[2])
    side = cast(Side, {"kind": match[1], "document": None, "position": None, "reason": None})
    if match[1] == "doc":
        document = corpus.documents[corpus.documents.find(match[2])]
        number = side["id"] = document.id
        side["address"], side["name"] = document.address, f"doc:{document.address}"
        sums = corpus.sums(((number, number + 1),))
        side["title"] = look.preview(document) or corpus.name(document.shard)
        return side, sums.columns, sums.total / max(1, sums.n_rows)
    number = side["id"] = _row(corpus, name, match[2])
    document = corpus.documents.of_row(number)
    matrix, position = corpus.rows(number, number + 1), number - document.first_row
    side["address"], side["name"] = document.address, f"row:{document.address}@{position}"
    (side["title"],) = look.texts(document, position, position + 1)
    side["document"], side["position"] = document.id, position
    (side["reason"],) = reasons_of(corpus.reasons(number, 1))
    return side, matrix.indices, matrix.data.astype(np.float64)


def _side_of_several(look: Look, name: str, text: str) -> tuple[Side, Int, F64]:
    corpus, groups = look.features, groups_of(look).by_name
    ranges = parse_selection(text, corpus.documents, name, groups)
    sums, first = corpus.sums(ranges), corpus.documents[ranges[0][0]]
    called = text if text in groups else selection_of(corpus.documents, ranges) or text
    n = sum(stop - start for start, stop in ranges)
    side = Side(
        kind="docs",
        id=first.id,
        name=f"docs:{called}",
        title=f"{called[:200]}: {n:,} document{'s' * (n != 1)}",
        address=first.address,
        document=None,
        position=None,
        reason=None,
    )
    return side, sums.columns, sums.total / max(1, sums.n_rows)


def _row(corpus: Corpus, name: str, text: str) -> int:
    """Return the row that a text names. Raises: RequestError, NotFoundError."""
    if match := _TOKEN.fullmatch(text):
        documents = corpus.documents
        return documents[documents.find(match[1] or match[2])].row(int(match[3]))
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise RequestError(f"{name} row:{text[:40]!r}: expected DOCUMENT@POSITION, or a row's number")
    return int(text)


def _spread(columns: Int, indices: Int, values: F64) -> F64:
    """Return the values of `columns`, 0 for those that are not among `indices`; both rise."""
    spread = np.zeros(len(columns))
    spread[np.searchsorted(columns, indices)] = values
    return spread
