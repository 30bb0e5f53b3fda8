"""What the first call of the kernel costs a process: with numba's cache empty, and with it filled.

As a script, `python -m benchmarks.first_call`, it is that process: a small SAE, always the same screen, two calls.
Prints a JSON object.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.process import run

VARIABLE = "NUMBA_CACHE_DIR"
N_TOKENS, D_SAE = 256, 1024


@dataclass(frozen=True, slots=True)
class FirstCall:
    """Seconds of a process: all of it; importing the kernel; making one; its first and its second call."""

    cache: str
    process_s: float
    import_s: float
    make_s: float
    first_s: float
    second_s: float

    @staticmethod
    def table(found: Sequence[FirstCall]) -> list[str]:
        lines = [f"## The first call of a process, 2,304 → {D_SAE:,}, {N_TOKENS} tokens", ""]
        lines += ["| numba's cache | process s | import s | make the kernel s | first call s | second call s |"]
        lines += ["|---|---:|---:|---:|---:|---:|"]
        lines += [
            f"| {one.cache} | {one.process_s:.2f} | {one.import_s:.2f} | {one.make_s:.3f} | {one.first_s:.3f}"
            f" | {one.second_s:.3f} |"
            for one in found
        ]
        return [*lines, "", "Of the process, most is importing torch and SAELens."]


def first_calls() -> list[FirstCall]:
    """Run the script with an empty cache, and twice with what it left."""
    found, before = [], os.environ.get(VARIABLE)
    with tempfile.TemporaryDirectory(prefix="saefetch-bench-") as folder:
        os.environ[VARIABLE] = folder
        try:
            for cache in ("empty", "filled", "filled, again"):
                process = run([sys.executable, "-m", "benchmarks.first_call"])
                found.append(FirstCall(cache, process.wall_s, **process.said))
        finally:
            del os.environ[VARIABLE]
            if before is not None:
                os.environ[VARIABLE] = before
    return found


def main() -> None:
    began = time.perf_counter()
    from benchmarks.kernel_data import make_rows, make_sae, make_weights
    from encoder.kernels.cpu.calibrate import int8_is_exact
    from encoder.kernels.cpu.kernel import CpuKernel

    imported = time.perf_counter()
    weights = make_weights(D_SAE, l0=10)
    sae, x = make_sae(weights), make_rows(weights, N_TOKENS)
    marks = [time.perf_counter()]
    kernel = CpuKernel(sae, screen="int8" if int8_is_exact() else "fp32")
    marks.append(time.perf_counter())
    for _ in range(2):
        kernel.encode(x)
        marks.append(time.perf_counter())
    make_s, first_s, second_s = (after - before for before, after in pairwise(marks))
    said = {"import_s": imported - began, "make_s": make_s, "first_s": first_s, "second_s": second_s}
    print(json.dumps(said))


if __name__ == "__main__":
    main()
