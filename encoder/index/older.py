"""An index of version 1, read as if it had been made today: what it counted otherwise is counted anew.

Version 1 has the values of all rows, also of those that do not count, goes by value where magnitude is meant, and lacks
the smallest values. Which rows count is in the features files. So the first question costs one reading of the index and
of the rows' masks; `sae-encode index` makes the index anew and saves that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from encoder.arrays import I64, AnyArray, Bool
from encoder.errors import EncoderError
from encoder.file.folder import Features, open_features
from encoder.index.format import N_BINS, N_TOP, IndexFile, again, command, row_dtype, state_of
from encoder.index.loops import TALLY, summarise, tally_by_feature

BLOCK_ENTRIES = 1 << 22
"""Entries at a time, and at least those of one feature."""


@dataclass(frozen=True, slots=True)
class Renewed:
    """What today's index would say. `counts` bool [T] says which rows count; `arrays` replace those of the file."""

    counts: Bool
    excluded: dict[str, int]
    n_documents_counted: int
    n_entries: I64
    arrays: Mapping[str, AnyArray]


def renew(file: IndexFile, documents: I64) -> Renewed:
    """Read the index once; `documents` int64 [n + 1] are the bounds of its documents, checked.

    Raises: EncoderError if its features files are others now, or it is damaged.
    """
    with open_features(file.features) as features:
        if state_of(file, features) != "older":
            raise EncoderError(
                f"{file.path}: is of an older version, and its features files are others now;"
                f" `{command(file.path, file.features)}` makes it again"
            )
        counts, excluded = _counts(features), features.excluded()
    starts = documents[:-1]
    n_counted = int((np.add.reduceat(counts, starts) > 0).sum()) if len(starts) else 0
    known, summaries = _summaries(file, counts, starts)
    figures = {name: np.ascontiguousarray(known[name]) for name in ("max", "min", "sum", "n_documents")}
    return Renewed(counts, excluded, n_counted, np.ascontiguousarray(known["count"]), {**figures, **summaries})


def _counts(features: Features) -> Bool:
    return np.concatenate([np.zeros(0, np.bool_), *(features.counts(shard) for shard in range(features.n_shards))])


def _summaries(file: IndexFile, counts: Bool, starts: I64) -> tuple[AnyArray, dict[str, AnyArray]]:
    (n_rows, width), row = file.shape, row_dtype(file.shape[0])
    indptr = np.array(file.arrays["indptr"])
    if indptr[0] != 0 or indptr[-1] != len(file.arrays["indices"]) or (indptr[1:] < indptr[:-1]).any():
        raise EncoderError(f"{file.path}: indptr does not rise; {again(file.path, file.features)}")
    known = np.zeros(width, TALLY)
    known["last_document"] = -1
    histogram = np.zeros((width, N_BINS), row)
    top_rows, top_values = np.full((width, N_TOP), -1, "<i8"), np.zeros((width, N_TOP), "<f4")
    first = 0
    while first < width:
        last = int(np.searchsorted(indptr, indptr[first] + BLOCK_ENTRIES, side="right")) - 1
        block = slice(first, max(first + 1, last))
        entries = slice(int(indptr[block.start]), int(indptr[block.stop]))
        rows, values = np.array(file.arrays["indices"][entries]), np.array(file.arrays["data"][entries])
        if len(rows) and not 0 <= rows.min() <= rows.max() < n_rows:
            raise EncoderError(f"{file.path}: has rows outside 0..{n_rows - 1}; {again(file.path, file.features)}")
        is_kept = counts[rows]
        bounds = np.concatenate([[0], np.cumsum(is_kept)])[indptr[block.start : block.stop + 1] - entries.start]
        rows, values = rows[is_kept], values[is_kept]
        documents = np.searchsorted(starts, rows, side="right") - 1
        tally_by_feature(bounds, values, documents, known[block])
        largest, smallest = (np.ascontiguousarray(known[name][block]) for name in ("max", "min"))
        summarise(bounds, rows, values, largest, smallest, histogram[block], top_rows[block], top_values[block])
        first = block.stop
    return known, {"histogram": histogram, "top_rows": top_rows, "top_values": top_values}
