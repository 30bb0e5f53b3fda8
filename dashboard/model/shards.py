"""What a shard's headers do not say: which rows do not count, and how L0 is distributed over those that do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from encoder.arrays import I64
from encoder.errors import ShardError
from encoder.file.folder import Features
from encoder.rows import REASONS, by_reason

N_BINS = 20
BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Excluded:
    """Rows that do not count: how many, how many values they hold, and how many rows there are for each reason."""

    n_rows: int = 0
    nnz: int = 0
    by_reason: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Excluded) -> Excluded:
        reasons = {name: self.by_reason.get(name, 0) + other.by_reason.get(name, 0) for name in REASONS}
        return Excluded(self.n_rows + other.n_rows, self.nnz + other.nnz, reasons)


NOTHING_EXCLUDED = Excluded(by_reason=dict.fromkeys(REASONS, 0))


def has_mask(features: Features, shard: int) -> bool:
    """Say whether there may be rows that do not count. Costs the shard's headers."""
    return "row_mask" in features.files[shard].members


def excluded_of(features: Features, shard: int, start: int = 0, stop: int | None = None) -> Excluded:
    """Count the rows of [start, stop) of a shard that do not count."""
    if not has_mask(features, shard):
        return NOTHING_EXCLUDED
    reasons = features.reasons(shard, start, stop)
    rows = np.flatnonzero(reasons) + start
    indptr = _array(features, shard, "indptr")
    return Excluded(len(rows), int((indptr[rows + 1] - indptr[rows]).sum()), by_reason(reasons))


def _array(features: Features, shard: int, name: str) -> I64:
    array = features.array(shard, name)
    assert array is not None  # a features file has it
    return array


@dataclass(frozen=True, slots=True)
class L0:
    """`counts` int64: the rows with so many active features as lie in [edges[i], edges[i + 1]), int64."""

    largest: int
    edges: I64
    counts: I64


def l0_of(features: Features, shard: int) -> L0:
    """Count how many rows have how many active features. Raises: ShardError if the shard's bounds are damaged."""
    indptr = _array(features, shard, "indptr")
    rows = np.zeros(1, np.int64)
    for at in range(0, len(indptr) - 1, BLOCK):
        l0 = np.diff(indptr[at : at + BLOCK + 1])
        if l0.size and (int(l0.min()) < 0 or int(l0.max()) > features.shape[1]):
            raise ShardError(f"{features.paths[shard]}: has rows of {l0.min()} to {l0.max()} values; encode it again")
        block = np.bincount(l0[features.counts(shard, at, at + BLOCK)], minlength=len(rows))
        block[: len(rows)] += rows
        rows = block
    largest = len(rows) - 1
    step = max(1, -(-(largest + 1) // N_BINS))
    edges = np.arange(0, largest + 1 + step, step)
    return L0(largest, edges, np.add.reduceat(rows, edges[:-1]))
