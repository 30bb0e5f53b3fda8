"""How well the screen does in each precision, on ordinary rows, massive inputs and attention sinks; where time goes.

Bytes are computed, not measured: what each stage reads and writes of arrays that the first-level cache cannot hold,
with each array counted once a tile where a tile reads it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from benchmarks.kernel_data import D, make_rows, make_sae, make_weights, with_massive, with_sinks
from encoder.kernels.cpu.calibrate import PRECISIONS, int8_is_exact
from encoder.kernels.cpu.kernel import PRODUCT_DTYPES, CpuKernel, Stages, tile_rows
from encoder.kernels.cpu.operand import DTYPES
from encoder.kernels.reference import ReferenceKernel

F = 16_384
CHECKED_ROWS = 512


@dataclass(frozen=True, slots=True)
class Screened:
    """One precision on one kind of rows. Stages are thread microseconds a token, bytes are kilobytes a token."""

    rows: str
    precision: str
    tokens_per_s: float
    mean_l0: float
    hits_per_active: float
    candidates_per_active: float
    is_exact: bool
    stages_us: dict[str, float]
    moved_kb: dict[str, float]

    @staticmethod
    def table(found: Sequence[Screened]) -> list[str]:
        head = "| rows | screen | tokens/s | mean L0 | hits | candidates | as float64 | thread µs a token |"
        lines = [f"## Screens, 2,304 → {F:,}, JumpReLU, bfloat16 activations", "", head]
        lines += ["|---|---|---:|---:|---:|---:|---|---|"]
        for one in found:
            stages = ", ".join(f"{stage} {us:.1f}" for stage, us in one.stages_us.items() if us)
            lines += [
                f"| {one.rows} | {one.precision} | {one.tokens_per_s:,.0f} | {one.mean_l0:.1f}"
                f" | {one.hits_per_active:.2f} | {one.candidates_per_active:.3f} | {'yes' if one.is_exact else 'NO'}"
                f" | {stages} |"
            ]
        lines += ["", "Hits and candidates are of an active feature: what the screen lets through, and of that what is"]
        lines += ["computed in float64. Features were compared with a dense float64 product on"]
        lines += [f"{CHECKED_ROWS} of the rows. Bytes moved, computed from shapes and counts, in kB a token:", ""]
        plain = [one for one in found if one.rows == found[0].rows]
        lines += ["| what | " + " | ".join(one.precision for one in plain) + " |", "|---|" + "---:|" * len(plain)]
        for what in plain[0].moved_kb:
            lines += [f"| {what} | " + " | ".join(f"{one.moved_kb[what]:.1f}" for one in plain) + " |"]
        total = (f"{sum(one.moved_kb.values()):.1f}" for one in plain)
        dense = 3 * 4 * F / 1e3
        lines += ["| sum | " + " | ".join(total) + " |", ""]
        lines += [
            f"A dense float32 array alone, written once and read twice, as `csr_matrix` does: {dense:.1f} kB a token."
        ]
        return lines


def bytes_moved(precision: str, d_sae: int, hits: float, candidates: float, nnz: float) -> dict[str, float]:
    """Return kilobytes a token, by stage; hits, candidates and nnz are counts a token."""
    size, out, n_rows = DTYPES[precision].itemsize, PRODUCT_DTYPES[precision].itemsize, tile_rows(precision)
    n_bytes = {
        "rows: read, their operand written and read": 4 * D + 2 * size * D,
        "weights' operand, once a tile of rows": size * D * d_sae / n_rows,
        "product, written and scanned": 2 * out * d_sae,
        "rows of hits": 4 * D * hits,
        "weights of hits, at most once a tile of rows": 4 * D * min(hits, d_sae / n_rows),
        "hits, candidates and CSR, written and read": 2 * (4 * hits + 2 * 12 * candidates + 8 * nnz),
    }
    return {what: count / 1e3 for what, count in n_bytes.items()}


def screens(n_tokens: int, rounds: int, n_threads: int) -> list[Screened]:
    """Measure every precision on every kind of rows; the precisions take turns."""
    weights = make_weights(F)
    x = make_rows(weights, n_tokens)
    massive, x_massive = with_massive(weights, x)
    kinds = {
        "ordinary": (make_sae(weights), x),
        "massive inputs": (make_sae(massive), x_massive),
        "5 % attention sinks": (make_sae(weights), with_sinks(x)),
    }
    precisions = PRECISIONS if int8_is_exact() else PRECISIONS[1:]
    found = []
    for kind, (sae, rows) in kinds.items():
        rows = rows.bfloat16()
        kernels = {name: CpuKernel(sae, screen=name, n_threads=n_threads) for name in precisions}
        truth = ReferenceKernel(sae).encode(rows[:CHECKED_ROWS])
        features = {name: kernel.encode(rows) for name, kernel in kernels.items()}
        seconds: dict[str, list[float]] = {name: [] for name in precisions}
        for kernel in kernels.values():
            kernel.stages = Stages()
        for _ in range(rounds):
            for name, kernel in kernels.items():
                began = time.perf_counter()
                kernel.encode(rows)
                seconds[name].append(time.perf_counter() - began)
        for name, kernel in kernels.items():
            stages, count, nnz = kernel.stages, rounds * n_tokens, len(features[name].indices)
            n = truth.indptr[-1]
            is_same = np.array_equal(features[name].indptr[: len(truth.indptr)], truth.indptr)
            is_same = is_same and np.array_equal(features[name].indices[:n], truth.indices)
            hits, candidates = stages.hits / count, stages.candidates / count
            found.append(
                Screened(
                    kind,
                    name,
                    n_tokens / median(seconds[name]),
                    nnz / n_tokens,
                    hits * n_tokens / nnz,
                    candidates * n_tokens / nnz,
                    is_same,
                    {stage: 1e6 * spent / count for stage, spent in stages.seconds.items()},
                    bytes_moved(name, F, hits, candidates, nnz / n_tokens),
                )
            )
    return found
