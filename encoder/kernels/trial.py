"""Which precision is fastest for these rows: the whole pass of each over a share of the features, timed.

A faster product is not all. What a wide bound lets through has to be looked at again, and numbers of twice the size are
written and read; how much of them there is depends on the SAE and the rows, and what it costs on the caches.
Shapes: T rows, F features, D = d_in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from typing import Any

import numpy as np
import torch

from encoder.kernels.bound import U_OUT
from encoder.kernels.lanes import MASK_LANES
from encoder.kernels.operand import PRODUCT_DTYPES, make_columns, make_rows, multiply
from encoder.kernels.screen import as_array, confirm, scan

Array = np.ndarray[Any, Any]

MIN_ROWS = 256
"""Fewer rows say too little, and are done before a trial is."""
_FEATURES = 1024
_ROUNDS = 2


def seconds_of_passes(
    names: Iterable[str],
    x: Array,
    weights: torch.Tensor,
    b_enc: Array,
    limits: Array,
    massive: Array,
    threads: Executor,
    clock: Callable[[], float] = time.thread_time,
) -> dict[str, float]:
    """Return the seconds of a thread that each precision takes for x [T, D]; the other arguments are all features'."""
    every = slice(0, None, max(1, len(weights) // _FEATURES))
    some = weights[every].contiguous()  # spread over all, as some files sort them by how often they fire
    b_enc, limits, n_padded = b_enc[every].copy(), limits[every].copy(), -(-len(x) // MASK_LANES) * MASK_LANES
    found, counts = np.empty(len(some) * n_padded, np.int32), np.empty(len(some), np.int64)
    chunk = slice(0, len(some))

    def pass_of(name: str) -> Callable[[], object]:
        columns = make_columns(some, massive, name, limits, np.zeros(len(some)), threads)
        rows, u_out = make_rows(x, columns, n_padded), np.float32(U_OUT[name])
        out = torch.empty((len(some), n_padded), dtype=PRODUCT_DTYPES[name])

        def run() -> object:
            multiply(columns, chunk, rows, out)
            scan(as_array(out), rows.terms, columns.factors, u_out, len(x), found, counts)
            return confirm(x, rows, columns, chunk, some.numpy(), b_enc, limits, found, counts)

        return run

    return threads.submit(_time, {name: pass_of(name) for name in names}, clock).result()


def _time(calls: dict[str, Callable[[], object]], clock: Callable[[], float]) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(1 + _ROUNDS):  # in turns, so that a busy moment is nobody's alone
        for name, call in calls.items():
            began = clock()
            call()
            times[name].append(clock() - began)
    return {name: max(min(taken[1:]), 1e-9) for name, taken in times.items()}  # the first one fills the caches
