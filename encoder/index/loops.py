"""The inner loops of building an index. Row order throughout, so that no result depends on where a block ends.

Shapes: T rows and nnz entries of a block, F = d_sae; K features of a range, B bins, N places of a feature's strongest.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from encoder.arrays import F32, I32, I64, AnyArray, Bool, Int
from encoder.machine.compiled import compiled

TALLY = np.dtype(
    [("count", "<i8"), ("sum", "<f8"), ("n_documents", "<i8"), ("last_document", "<i8"), ("max", "<f4"), ("min", "<f4")]
)
"""What is known of a feature so far; its fields lie together, as an entry touches all of them.

`max` is the value of the largest magnitude, with its sign, and of equal ones the first; `min` the smallest value.
"""


@compiled()
def _take(one: Any, value: np.float32, document: int) -> None:
    """Count a feature's value in; documents come in order."""
    if abs(value) > abs(one.max):
        one.max = value
    if one.count == 0 or value < one.min:
        one.min = value
    one.count += 1
    one.sum += np.float64(value)
    if one.last_document != document:
        one.last_document = document
        one.n_documents += 1


@compiled()
def tally(lengths: Int, columns: I32, values: F32, documents: I64, counts: Bool, features: AnyArray) -> int:
    """Count a block in: lengths int [T], columns int32 [nnz], values float32 [nnz], documents int64 [T], TALLY [F].

    Rows where counts, bool [T], is False are checked and no more.

    Returns the first entry that breaks the format, -1 if none does: columns rise within a row and are below F, values
    are finite and not 0.
    """
    at = 0
    for row in range(len(lengths)):
        document = documents[row]
        before = -1
        for _ in range(lengths[row]):
            column, value = columns[at], values[at]
            if column <= before or column >= len(features) or value == 0 or not np.isfinite(value):
                return at
            before = column
            at += 1
            if counts[row]:
                _take(features[column], value, document)
    return -1


@compiled()
def tally_by_feature(bounds: I64, values: F32, documents: I64, features: AnyArray) -> None:
    """Count values [nnz] in that are sorted by feature, at bounds [K + 1], with their documents: TALLY [K]."""
    for feature in range(len(features)):
        for at in range(bounds[feature], bounds[feature + 1]):
            _take(features[feature], values[at], documents[at])


@compiled()
def transpose(lengths: Int, columns: I32, values: F32, cursors: I64, out_rows: I32, out_values: F32) -> None:
    """Put a block's entries where their feature's cursor [F] is, and move it on; rows count from 0."""
    at = 0
    for row in range(len(lengths)):
        for _ in range(lengths[row]):
            column = columns[at]
            to = cursors[column]
            out_rows[to] = row
            out_values[to] = values[at]
            cursors[column] = to + 1
            at += 1


@compiled()
def spread(piece: I32, bounds: I64, base: int, cursors: I64, out: Int) -> None:
    """Add each feature's part of a run's piece to what earlier runs had of it: int32 or int64, `base` added to each.

    bounds int64 [K + 1] within the piece; cursors int64 [K] within `out` are moved on.
    """
    for feature in range(len(cursors)):
        to = cursors[feature]
        for at in range(bounds[feature], bounds[feature + 1]):
            out[to] = piece[at] + base
            to += 1
        cursors[feature] = to


@compiled()
def summarise(
    bounds: I64,
    rows: Int,
    values: F32,
    largest: F32,
    smallest: F32,
    histogram: Int,
    top_rows: I64,
    top_values: F32,
) -> None:
    """Count values [nnz] of features, at bounds [K + 1], into histogram [K, B] and the strongest, top_* [K, N].

    `largest` float32 [K] is each feature's value of the largest magnitude m. Bins are of [0, m], or of [-m, m] where
    `smallest` float32 [K] is negative. A quotient of two float32 that is not whole differs from a whole number by more
    than float64 rounds, so bins are exact. top_rows must start as -1.
    """
    n_bins, n_top = histogram.shape[1], top_rows.shape[1]
    for feature in range(len(largest)):
        scale = np.float64(abs(largest[feature]))
        zero_bin = n_bins // 2 if smallest[feature] < 0 else 0
        n_above = n_bins - zero_bin
        n = 0
        while n < n_top and top_rows[feature, n] >= 0:
            n += 1
        for at in range(bounds[feature], bounds[feature + 1]):
            value = values[at]
            bin_ = zero_bin + int(np.floor(np.float64(value) * n_above / scale))
            histogram[feature, min(bin_, n_bins - 1)] += 1
            if n < n_top:
                n += 1
            elif abs(value) <= abs(top_values[feature, n - 1]):
                continue
            place = n - 1
            while place > 0 and abs(top_values[feature, place - 1]) < abs(value):
                top_values[feature, place] = top_values[feature, place - 1]
                top_rows[feature, place] = top_rows[feature, place - 1]
                place -= 1
            top_values[feature, place] = value
            top_rows[feature, place] = rows[at]


@compiled()
def place_words(rows: I64, places: I32, start: int, stop: int, cursors: I64, out: Int) -> None:
    """Put rows [n] of the words [start, stop), whose places [n] among all words are given, where their cursor is."""
    for at in range(len(rows)):
        place = places[at]
        if start <= place < stop:
            out[cursors[place - start]] = rows[at]
            cursors[place - start] += 1
