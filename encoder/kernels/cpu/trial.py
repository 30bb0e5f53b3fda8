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

import numpy as np
import torch

from encoder.arrays import F32, F64, I64
from encoder.kernels.bound import U_OUT
from encoder.kernels.cpu.calibrate import seconds_in_turns
from encoder.kernels.cpu.lanes import MASK_LANES
from encoder.kernels.cpu.operand import PRODUCT_DTYPES, make_columns, make_rows, multiply
from encoder.kernels.cpu.screen import as_array, confirm, scan

MIN_ROWS = 256
"""A trial takes at least this many rows: fewer measure too little, and are encoded in less time than a trial takes."""
_FEATURES = 1024
_ROUNDS = 2


def seconds_of_passes(
    names: Iterable[str],
    x: F32,
    weights: torch.Tensor,
    b_enc: F64,
    limits: F64,
    massive: I64,
    threads: Executor,
    clock: Callable[[], float] = time.thread_time,
) -> dict[str, float]:
    """Return the seconds of a thread that each named precision takes for x [T, D].

    weights [F, D], b_enc and limits float64 [F] are those of all features.
    """
    # The features are spread over all of them, as some files sort features by how often they fire.
    every = slice(0, None, max(1, len(weights) // _FEATURES))
    some = weights[every].contiguous()
    b_enc, limits, n_padded = b_enc[every].copy(), limits[every].copy(), -(-len(x) // MASK_LANES) * MASK_LANES
    found, counts = np.empty(len(some) * n_padded, np.int32), np.empty(len(some), np.int64)
    chunk = slice(0, len(some))

    def pass_of(name: str) -> Callable[[], object]:
        columns = make_columns(some, massive, name, limits, np.zeros(len(some)), threads)
        rows, u_out = make_rows(x, columns, n_padded), np.float32(U_OUT[name])
        out = torch.empty((len(some), n_padded), dtype=PRODUCT_DTYPES[name])

        def run() -> object:
            multiply(columns, chunk, rows, out)
            n_hits = scan(as_array(out), rows.terms, columns.factors, u_out, len(x), found, counts)
            return confirm(x, rows, columns, chunk, some.numpy(), b_enc, limits, found[:n_hits], counts)

        return run

    passes = {name: pass_of(name) for name in names}
    return threads.submit(seconds_in_turns, passes, _ROUNDS, clock).result()
