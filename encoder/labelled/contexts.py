"""What a page shows of the features on disk: documents, texts, and the rows on which a feature is strongest."""

from __future__ import annotations

import operator
from dataclasses import dataclass

import numpy as np

from encoder.arrays import F32, I64
from encoder.errors import EncoderError
from encoder.file.documents import document_starts
from encoder.file.folder import Features
from encoder.index import open_index
from encoder.labelled.markup import Token
from encoder.rows import REASONS

_BLOCK = 1 << 22


def place(number: int, count: int, what: str) -> int:
    """Return a number that counts from 0; negative ones count from the end. Raises: IndexError, with what there is."""
    at = operator.index(number)
    if not -count <= at < count:
        there = f"there are {count:,}, counted from 0" if count else f"there is no {what} at all"
        raise IndexError(f"{what} {at} does not exist: {there}")
    return at % count


def document_rows(features: Features) -> I64:
    """Return the row at which each document begins, and the number of rows: int64 [documents + 1]."""
    starts = []
    for shard in range(features.n_shards):
        first, stop = features.first_rows[shard : shard + 2]
        starts.append(first + document_starts(features.array(shard, "row_document"), int(stop - first)))
    return np.concatenate([*starts, [features.shape[0]]]).astype(np.int64)


def texts_of(features: Features, start: int, stop: int) -> list[Token]:
    """Return a token for each row of [start, stop), which are all of one shard."""
    n = stop - start
    shard, at = features.locate(start)
    said = features.tokens(shard, at, at + n)
    if said.texts is not None:
        texts = said.texts
    elif said.token_ids is not None:
        texts = [f"#{number} " for number in said.token_ids.tolist()]
    else:
        texts = [f"·{number} " for number in range(at, at + n)]
    notes, reasons = ("", *REASONS), features.reasons(shard, at, at + n).tolist()
    return [Token(start + i, text, note=notes[why]) for i, (text, why) in enumerate(zip(texts, reasons, strict=True))]


@dataclass(frozen=True, slots=True)
class Strongest:
    """Where a feature is strongest, by magnitude: rows and values; `n_rows` that count on which it fires; `source`."""

    rows: I64
    values: F32
    n_rows: int
    source: str


def strongest_rows(features: Features, feature: int, k: int) -> Strongest:
    """Ask the folder's index; go over all rows where the folder has no index of these files."""
    folder = features.paths[0].parent
    try:
        with open_index(folder) as index:
            if index.state_for(features) == "ready":
                rows, values = index.top(feature, k)
                return Strongest(rows, values, int(index.count[feature]), "found by the folder's index")
    except EncoderError:
        pass  # there is no index, or a damaged one: what it would say is in the features too
    rows, values = _entries_of(features, feature)
    order = np.argsort(-np.abs(values), kind="stable")[:k]
    remark = f"found by going over all rows; an index makes this faster: sae-encode index {folder}"
    return Strongest(rows[order], values[order], len(rows), remark)


def _entries_of(features: Features, feature: int) -> tuple[I64, F32]:
    """Return the rows on which a feature fires and count, rising, and its values there."""
    rows, values = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    for shard in range(features.n_shards):
        matrix = features.shard(shard)
        counts = features.counts(shard)
        for at in range(0, matrix.nnz, _BLOCK):
            found = at + np.flatnonzero(matrix.indices[at : at + _BLOCK] == feature)
            of = np.searchsorted(matrix.indptr, found, side="right") - 1
            found, of = found[counts[of]], of[counts[of]]
            rows.append(features.first_rows[shard] + of)
            values.append(matrix.data[found])
    return np.concatenate(rows), np.concatenate(values)
