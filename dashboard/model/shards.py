"""What a shard's headers do not say: how its L0 is distributed, and how many features never fire in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from encoder.arrays import I64
from encoder.errors import ShardError
from encoder.file.folder import Features

N_BINS = 20
BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class L0:
    """`counts` int64: the rows with so many active features as lie in [edges[i], edges[i + 1]), int64."""

    largest: int
    edges: I64
    counts: I64


def l0_of(features: Features, shard: int) -> L0:
    """Count how many rows have how many active features. Raises: ShardError if the shard's bounds are damaged."""
    indptr = features.array(shard, "indptr")
    assert indptr is not None  # a features file has one
    rows = np.zeros(1, np.int64)
    for at in range(0, len(indptr) - 1, BLOCK):
        l0 = np.diff(indptr[at : at + BLOCK + 1])
        if l0.size and (int(l0.min()) < 0 or int(l0.max()) > features.shape[1]):
            raise ShardError(f"{features.paths[shard]}: has rows of {l0.min()} to {l0.max()} values; encode it again")
        block = np.bincount(l0, minlength=len(rows))
        block[: len(rows)] += rows
        rows = block
    largest = len(rows) - 1
    step = max(1, -(-(largest + 1) // N_BINS))
    edges = np.arange(0, largest + 1 + step, step)
    return L0(largest, edges, np.add.reduceat(rows, edges[:-1]))


def dead_of(features: Features, shard: int) -> int:
    """Count the features that fire on no row of the shard. Raises: ShardError if its columns are damaged."""
    indices = features.array(shard, "indices")
    assert indices is not None
    fires = np.zeros(features.shape[1], np.bool_)
    for at in range(0, len(indices), BLOCK):
        block = indices[at : at + BLOCK]
        if int(block.view(np.uint32).max()) >= len(fires):
            raise ShardError(f"{features.paths[shard]}: has columns outside 0..{len(fires) - 1}; encode it again")
        fires[block] = True
    return int((~fires).sum())
