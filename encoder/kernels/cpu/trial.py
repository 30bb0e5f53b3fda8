"""The precision that is fastest for these rows: each precision's whole pass over a share of the features is timed.

The speed of the product alone does not decide. A wide bound lets more features through, and each of them is computed
again; how many these are depends on the SAE and on the rows. An int8 product is written as int32, twice the size of a
bfloat16 product, and what that costs depends on the caches.

Shapes: T rows, F features, D = d_in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import torch

from encoder.arrays import F32, F64, I64
from encoder.kernels.bound import U_OUT
from encoder.kernels.cpu.calibrate import seconds_in_turns
from encoder.kernels.cpu.floor import other_side, raise_floors
from encoder.kernels.cpu.lanes import MASK_LANES
from encoder.kernels.cpu.operand import FLOOR, PRODUCT_DTYPES, make_columns, make_rows, multiply
from encoder.kernels.cpu.screen import as_array, confirm, scan

MIN_ROWS = 256
"""A trial takes at least this many rows: fewer measure too little, and are encoded in less time than a trial takes."""
_FEATURES = 1024
_ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Trial:
    """What a pass needs to know of the SAE: weights [F, D], the others float64 [F], and k where the rule is TopK."""

    weights: torch.Tensor
    b_enc: F64
    limits: F64
    floor_factors: F64
    scale: F64
    k: int | None

    def share(self, n_features: int) -> Trial:
        """Return every so many features, spread over all of them, as some files sort features by how often they fire.

        Of so many fewer features so many fewer are among the k largest.
        """
        every = slice(0, None, max(1, len(self.weights) // n_features))
        return Trial(
            self.weights[every].contiguous(),
            self.b_enc[every].copy(),
            self.limits[every].copy(),
            self.floor_factors[every].copy(),
            self.scale[every].copy(),
            None if self.k is None else max(1, self.k // every.step),
        )


def seconds_of_passes(
    names: Iterable[str],
    x: F32,
    trial: Trial,
    massive: I64,
    threads: Executor,
    clock: Callable[[], float] = time.thread_time,
) -> dict[str, float]:
    """Return the seconds of a thread that each named precision takes for x [T, D]."""
    some, n_padded = trial.share(_FEATURES), -(-len(x) // MASK_LANES) * MASK_LANES
    n_features = len(some.weights)
    found, counts = np.empty(n_features * n_padded, np.int32), np.empty(n_features, np.int64)
    chunk = slice(0, n_features)

    def pass_of(name: str) -> Callable[[], object]:
        columns = make_columns(some.weights, massive, name, some.limits, some.floor_factors, threads)
        rows, u_out = make_rows(x, columns, n_padded), np.float32(U_OUT[name])
        out = torch.empty((n_features, n_padded), dtype=PRODUCT_DTYPES[name])
        unit, turned = (some.scale * columns.scales).astype(np.float32), other_side(columns.factors)

        def run() -> object:
            multiply(columns, chunk, rows, out)
            if some.k is not None:
                rows.terms[FLOOR] = 0
                heaps = np.zeros((len(x), min(some.k, n_features)), np.float32)
                raise_floors(as_array(out), rows.terms, turned, u_out, unit, len(x), heaps)
            n_hits = scan(as_array(out), rows.terms, columns.factors, u_out, len(x), found, counts)
            rule = some.weights.numpy(), some.b_enc, some.limits, some.floor_factors
            return confirm(x, rows, columns, chunk, *rule, found[:n_hits], counts)

        return run

    passes = {name: pass_of(name) for name in names}
    return threads.submit(seconds_in_turns, passes, _ROUNDS, clock).result()
