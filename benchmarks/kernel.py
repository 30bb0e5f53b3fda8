"""Benchmark the CPU kernel in memory: `python -m benchmarks.kernel [--quick]`, or `make bench`.

Activations in memory to CSR in memory, two threads, ours against what people do today and against the bare matrix
products, in turns: a round is one run of each; reported are medians over rounds, ratios being those within a round.
From file to file: benchmarks/encode.py. The activations are made up (kernel_data.py). What stands in which module:

    kernel.py          the cases, and the two files that it leaves
    kernel_others.py   the others: SAELens in float32 and bfloat16, and ways from dense to sparse
    kernel_screen.py   candidates, massive inputs, attention sinks, seconds of stages, bytes moved
    first_call.py      what the first call costs a process
    kernel_plots.py    cost against d_sae, L0 and tokens (a run of its own)
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch

from benchmarks.first_call import FirstCall, first_calls
from benchmarks.kernel_data import make_rows, make_sae, make_weights
from benchmarks.kernel_others import Wrong, others, wrong_decisions
from benchmarks.kernel_screen import Screened, screens
from benchmarks.report import RESULTS, describe_machine, head, publish, result_name
from encoder.kernels.cpu.kernel import CpuKernel

N_THREADS, ROUNDS = 2, 3
LIBRARIES = ("numba", "numpy", "sae-lens", "saefetch", "scipy", "torch")
OURS = "ours"


@dataclass(frozen=True, slots=True)
class Case:
    """An SAE of 2,304 inputs, and how many tokens of which type are encoded at once."""

    d_sae: int
    n_tokens: int
    dtype: torch.dtype
    k: int | None = None

    @property
    def title(self) -> str:
        rule = "JumpReLU, L0 100" if self.k is None else f"TopK, k = {self.k}"
        return f"2,304 → {self.d_sae:,}, {rule}, {str(self.dtype).removeprefix('torch.')} activations"


CASES = (
    Case(16_384, 2048, torch.bfloat16),
    Case(16_384, 2048, torch.float32),
    Case(65_536, 1024, torch.bfloat16),
    Case(16_384, 2048, torch.bfloat16, k=64),
)


@dataclass(frozen=True, slots=True)
class Timed:
    """Medians over rounds: wall clock and CPU microseconds a token; `times` and `cpu_times` are in those of ours."""

    what: str
    wall_us: float
    cpu_us: float
    times: float
    cpu_times: float
    rounds: list[tuple[float, float]]


def in_turns(
    runs: Mapping[str, Callable[[], object]],
    n_tokens: int,
    rounds: int,
    *,
    wall: Callable[[], float] = time.perf_counter,
    cpu: Callable[[], float] = time.process_time,
) -> list[Timed]:
    """Time each of `runs`, one after the other, `rounds` times over, after a round that does not count."""
    found: dict[str, list[tuple[float, float]]] = {what: [] for what in runs}
    for number in range(rounds + 1):
        for what, run in runs.items():
            began = wall(), cpu()
            run()
            taken = wall() - began[0], cpu() - began[1]
            if number:
                found[what].append(taken)
    return [
        Timed(
            what,
            1e6 * median(wall_s for wall_s, _ in taken) / n_tokens,
            1e6 * median(cpu_s for _, cpu_s in taken) / n_tokens,
            median(wall_s / mine for (wall_s, _), (mine, _) in zip(taken, found[OURS], strict=True)),
            median(cpu_s / mine for (_, cpu_s), (_, mine) in zip(taken, found[OURS], strict=True)),
            taken,
        )
        for what, taken in found.items()
    ]


@dataclass(frozen=True, slots=True)
class Measured:
    """One case: everybody's time, how ours screened, and what bfloat16 gets wrong."""

    case: Case
    timed: list[Timed]
    mean_l0: float
    screen: str
    wrong: Wrong

    def lines(self) -> list[str]:
        lines = [f"## {self.case.title}", ""]
        lines += [f"{self.case.n_tokens:,} tokens at once, mean L0 {self.mean_l0:.1f}, {self.screen}", ""]
        lines += ["| what | tokens/s | µs a token | CPU µs a token | time over ours | CPU over ours |"]
        lines += ["|---|" + "---:|" * 5]
        lines += [
            f"| {one.what} | {1e6 / one.wall_us:,.0f} | {one.wall_us:.1f} | {one.cpu_us:.1f} | {one.times:.2f}"
            f" | {one.cpu_times:.2f} |"
            for one in self.timed
        ]
        return [*lines, "", str(self.wrong), ""]


def measure(case: Case, rounds: int) -> Measured:
    weights = make_weights(case.d_sae)
    sae, x = make_sae(weights, k=case.k), make_rows(weights, case.n_tokens).to(case.dtype)
    low = make_sae(weights, k=case.k, dtype=torch.bfloat16)
    del weights
    kernel = CpuKernel(sae, n_threads=N_THREADS)
    features = kernel.encode(x)
    screen = f"screen in {kernel.choice.precision}: {kernel.choice.reason}"
    timed = in_turns({OURS: lambda: kernel.encode(x), **others(sae, low, x)}, case.n_tokens, rounds)
    wrong = wrong_decisions(low, x, features)
    return Measured(case, timed, len(features.indices) / case.n_tokens, screen, wrong)


@dataclass(frozen=True, slots=True)
class Aim:
    what: str
    aim: str
    measured: str
    met: bool

    def line(self) -> str:
        return f"| {self.what} | {self.aim} | {self.measured} | {'met' if self.met else 'MISSED'} |"


def aims(measured: list[Measured], screened: list[Screened], from_file_to_file: tuple[float, str] | None) -> list[Aim]:
    """Compare with the aims: speed, in that of the bare products, and how few candidates the screen leaves."""
    found = []
    if from_file_to_file is not None:
        times, date = from_file_to_file
        what = f"file to file, against (a); benchmarks/encode.py, {date}"
        found.append(Aim(what, "at least 4", f"{times:.2f}", times >= 4))
    for one in measured:
        by_letter = {timed.what[:3]: timed.times for timed in one.timed}
        for letter, name, least in (("(e)", "float32", 2.5), ("(f)", "bfloat16", 0.7)):
            times, what = (
                by_letter[letter],
                f"tokens/s, in those of {letter}, the bare {name} product; {one.case.title}",
            )
            found.append(Aim(what, f"at least {least}", f"{times:.2f}", times >= least))
    for part in screened:
        if part.precision == "bf16":
            ratio = part.candidates_per_active
            what = f"candidates an active feature, bf16 screen, {part.rows}"
            found.append(Aim(what, "at most 1.2", f"{ratio:.3f}", ratio <= 1.2))
    return found


def from_file_to_file(machine: dict[str, str]) -> tuple[float, str] | None:
    """Return what benchmarks/encode.py last found on this machine: ours over SAELens and scipy, and when."""
    path = RESULTS / f"{result_name('encode', machine)}.json"
    if not path.exists():
        return None
    document = json.loads(path.read_text())
    mine, today = document["rows"][:2]
    return mine["tokens_per_s"] / today["tokens_per_s"], document["machine"]["date"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="an eighth of the tokens, one round; writes no results")
    args = parser.parse_args()
    torch.set_num_threads(N_THREADS)
    torch.set_grad_enabled(False)
    part, rounds = (8, 1) if args.quick else (1, ROUNDS)
    cases = [Case(one.d_sae, one.n_tokens // part, one.dtype, one.k) for one in CASES]
    measured = []
    for case in cases:
        measured.append(measure(case, rounds))
        print(f"measured: {case.title}", file=sys.stderr, flush=True)
    screened = screens(1024 // part, rounds, N_THREADS)
    calls = first_calls()
    machine = describe_machine("kernel", LIBRARIES)
    promised = aims(measured, screened, from_file_to_file(machine))
    lines = head("The CPU kernel", machine)
    lines += ["", "| promise | aim | measured | |", "|---|---|---:|---|", *(aim.line() for aim in promised), ""]
    lines += [line for one in measured for line in one.lines()]
    lines += [*Screened.table(screened), "", *FirstCall.table(calls)]
    document: dict[str, Any] = {"aims": [asdict(aim) for aim in promised]}
    document["cases"] = [{**asdict(one), "case": one.case.title} for one in measured]
    document |= {"screens": [asdict(one) for one in screened], "first_calls": [asdict(one) for one in calls]}
    publish("kernel", machine, document, lines, quick=args.quick)


if __name__ == "__main__":
    main()
