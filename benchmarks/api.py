"""Benchmark what `encoder.encode` adds to its kernel: `python -m benchmarks.api [--quick]`, or `make bench`.

One SAE, 2,304 -> 16,384, warm. The kernel is timed alone. Then `encode` is timed around a kernel that has its answer
ready, on the same rows, so that what `encode` adds is not lost in the noise of the kernel. Reported are medians.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median

import torch

import encoder
from benchmarks.kernel_data import make_rows, make_sae, make_weights
from benchmarks.report import describe_machine, head, publish
from encoder.file.csr import Csr
from encoder.kernels.kernel import Kernel

D_SAE = 16_384
CASES = ((4096, 7), (1, 101))
"""Rows, and how often the kernel is timed."""
N_AROUND = 101
"""How often `encode` is timed around a ready answer."""
LIBRARIES = ("numba", "numpy", "saefetch", "scipy", "torch")


@dataclass(frozen=True, slots=True)
class Added:
    """Median milliseconds of the kernel, and what `encode` adds to them."""

    n_rows: int
    dtype: str
    kernel_ms: float
    added_ms: float

    @property
    def aim(self) -> tuple[str, bool]:
        """Return what the promise is for so many rows, and whether it holds."""
        if self.n_rows == 1:
            return "under 3 ms", self.added_ms < 3
        return "under 10 %", self.added_ms < 0.1 * self.kernel_ms

    def line(self) -> str:
        aim, is_met = self.aim
        share = f"{self.added_ms / self.kernel_ms:.1%}"
        cells = [f"{self.n_rows:,}", self.dtype, f"{self.kernel_ms:.2f}", f"{self.added_ms:.2f}", share, aim]
        return f"| {' | '.join(cells)} | {'met' if is_met else 'MISSED'} |"


class Ready(Kernel):
    """A kernel that has its answer."""

    def __init__(self, features: Csr) -> None:
        self._features = features

    def encode(self, x: torch.Tensor) -> Csr:
        return self._features


def measure(sae: encoder.LoadedSae, x: torch.Tensor, rounds: int) -> Added:
    """Time the kernel that `encode` keeps for the SAE, and `encode` without it."""
    encoder.encode(x, sae)
    ((key, (kernel, lock)),) = sae.warm.items()
    alone = [_ms(lambda: kernel.encode(x)) for _ in range(rounds)]
    sae.warm[key] = Ready(kernel.encode(x)), lock
    around = [_ms(lambda: encoder.encode(x, sae)) for _ in range(N_AROUND)]
    sae.warm[key] = kernel, lock
    return Added(len(x), str(x.dtype).removeprefix("torch."), median(alone), median(around))


def _ms(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three rounds; writes no results")
    args = parser.parse_args()
    weights = make_weights(D_SAE)
    sae, rows = make_sae(weights), make_rows(weights, CASES[0][0])
    found = []
    for n_rows, rounds in CASES:
        for dtype in (torch.bfloat16, torch.float32):
            found.append(measure(sae, rows[:n_rows].to(dtype), 3 if args.quick else rounds))
            print(f"measured: {n_rows:,} rows of {dtype}", file=sys.stderr, flush=True)
    machine = describe_machine("api", LIBRARIES)
    lines = [*head("encoder.encode", machine), ""]
    lines += ["| rows | | kernel ms | encode adds ms | share | promise | |", "|---:|---|---:|---:|---:|---|---|"]
    lines += [one.line() for one in found]
    publish("api", machine, {"added": [asdict(one) for one in found]}, lines, quick=args.quick)


if __name__ == "__main__":
    main()
