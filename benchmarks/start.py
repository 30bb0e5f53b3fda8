"""Benchmark what a small run costs: `python -m benchmarks.start [--quick]`, or `make bench`.

Every line is a process of its own, from its start to its end; wall clock, and CPU seconds of it and its children. A
round runs each once, beside `python -c 'import torch'`; reported are medians over rounds, and of the CPU seconds the
ratio to import torch within a round. The SAE is made up, 2,304 -> 16,384, 300 MB, as Gemma Scope's file and as SAELens'
folder; files are in memory's cache. "First" has an empty cache folder of ours, "second" the one that first left.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
import torch
from safetensors.torch import save_file

from benchmarks.made_up import D, F, random_rows, write_params
from benchmarks.process import REPO
from benchmarks.report import describe_machine, head, publish

ROUNDS, N_TOKENS, N_ACTIVE = 5, 512, 100
LIGHT, FIRST = 0.3, 1.6
"""The aims: a light command in imports of torch, a first result in imports of torch and one reading of the weights."""
LIBRARIES = ("numba", "numpy", "saefetch", "sae-lens", "torch")
TORCH = "python -c 'import torch'"
READING = "import torch, and read the weights once"


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of one process with its children."""

    wall_s: float
    cpu_s: float


@dataclass(slots=True)
class Line:
    """A command: how to run it, what it is compared with, the aim, and what it took in each round."""

    what: str
    run: Callable[[], Spent]
    against: str | None = TORCH
    aim: float | None = None
    rounds: list[Spent] = field(default_factory=list)

    def times(self, others: dict[str, Line]) -> float | None:
        """Return its CPU seconds over those of what it is compared with, the median of the rounds' ratios."""
        if self.against is None:
            return None
        pairs = zip(self.rounds, others[self.against].rounds, strict=True)
        return median(mine.cpu_s / other.cpu_s for mine, other in pairs)

    def cells(self, others: dict[str, Line]) -> str:
        times = self.times(others)
        met = "" if times is None or self.aim is None else f"{self.aim}, {'met' if times <= self.aim else 'MISSED'}"
        wall_s, cpu_s = (median(getattr(one, name) for one in self.rounds) for name in ("wall_s", "cpu_s"))
        cells = [self.what, f"{wall_s:.2f}", f"{cpu_s:.2f}", "" if times is None else f"{times:.2f}", met]
        return f"| {' | '.join(cells)} |"


def spend(command: list[str | Path], cache: Path, status: int = 0) -> Spent:
    """Run a command. Raises: RuntimeError if it ends with another status."""
    environment = os.environ | {"SAEFETCH_CACHE_DIR": str(cache)}
    with tempfile.TemporaryFile("w+") as said:
        began = time.perf_counter()
        process = subprocess.Popen(
            [str(part) for part in command], cwd=REPO, env=environment, stdout=said, stderr=subprocess.STDOUT
        )
        _, code, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(code)
        if process.returncode != status:
            said.seek(0)
            raise RuntimeError(f"{command} ended with {process.returncode}: {said.read()[-2000:]}")
    return Spent(wall_s, usage.ru_utime + usage.ru_stime)


def make_inputs(folder: Path) -> None:
    """Write the SAE twice, as params.npz and as SAELens' folder, and a shard of 512 rows."""
    decoder = write_params(folder / "gemma_scope" / "params.npz")
    with np.load(folder / "gemma_scope" / "params.npz") as arrays:
        weights = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    (folder / "sae_lens").mkdir()
    save_file(weights, folder / "sae_lens" / "sae_weights.safetensors")
    configuration = {"architecture": "jumprelu", "d_in": D, "d_sae": F, "dtype": "float32", "device": "cpu"}
    configuration |= {"apply_b_dec_to_input": False, "metadata": {"hook_name": "blocks.16.hook_resid_post"}}
    (folder / "sae_lens" / "cfg.json").write_text(json.dumps(configuration))
    x = random_rows(decoder, N_TOKENS, torch.Generator().manual_seed(2), N_ACTIVE).bfloat16()
    (folder / "acts").mkdir()
    save_file({"acts": x}, folder / "acts" / "shard.safetensors")


def lines(folder: Path) -> list[Line]:
    """Return every command. The first results come before what needs them."""
    python, encode = [sys.executable, "-c"], [sys.executable, "-m", "encoder"]
    acts, cache, workers = folder / "acts", folder / "cache", folder / "workers"
    params = folder / "gemma_scope" / "params.npz"
    files, read = {"Gemma Scope's file": params, "SAELens' folder": folder / "sae_lens"}, f"open({str(params)!r}, 'rb')"

    def light(what: str, *words: str | Path, status: int = 0) -> Line:
        return Line(what, lambda: spend([*encode, *words], cache, status), aim=LIGHT)

    def first(sae: Path, out: Path, used: Path) -> Spent:
        shutil.rmtree(out, ignore_errors=True)
        return spend([*encode, "run", acts, "--out", out, "--sae-path", sae, "--json"], used)

    def worker(*, is_first: bool) -> Spent:
        queue = folder / "queue"
        shutil.rmtree(queue, ignore_errors=True)
        spend([*encode, "submit", acts, "--queue", queue, "--sae-path", params], cache)
        if is_first:
            shutil.rmtree(workers, ignore_errors=True)
        return spend([*encode, "work", "--queue", queue], workers)

    found = [
        Line(TORCH, lambda: spend([*python, "import torch"], cache), None),
        Line(
            READING,
            lambda: spend([*python, f"import torch; {read}.read()"], cache),
            None,
        ),
    ]
    for what, sae in files.items():
        out = folder / f"out_{sae.name}"
        found.append(
            Line(f"first result, 512 rows, {what}", lambda sae=sae, out=out: first(sae, out, cache), READING, FIRST)
        )
    again = ["run", acts, "--out", folder / "out_params.npz", "--sae-path", params]
    out = folder / "out_params.npz"
    opened = f"from encoder import open_features; f = open_features({str(out)!r}); print(f.shape)"
    return [
        *found,
        light("run over finished shards", *again, "--json"),
        light("stats", "stats", out),
        Line("a worker, the first on an SAE", lambda: worker(is_first=True), READING),
        Line("a worker, the second on an SAE", lambda: worker(is_first=False), READING),
        light("status", "status", "--queue", folder / "queue"),
        light("--help", "--help"),
        light("run --help", "run", "--help"),
        light("a usage error", "run", acts, "--out", out, "--no-such-flag", status=2),
        Line("open_features", lambda: spend([*python, opened], cache), aim=LIGHT),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two rounds; writes no results")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="saefetch-bench-") as name:
        folder = Path(name)
        make_inputs(folder)
        every = lines(folder)
        for number in range(1 + (2 if args.quick else ROUNDS)):
            for line in every:
                spent = line.run()
                if number:  # the first round compiles, and fills the caches
                    line.rounds.append(spent)
    by_name = {line.what: line for line in every}
    machine = describe_machine("start", LIBRARIES)
    text = head("Starting", machine)
    text += ["", "| what | wall s | CPU s | CPU over its reference | aim |", "|---|---:|---:|---:|---|"]
    text += [line.cells(by_name) for line in every]
    text += ["", f"The reference of the first results and the workers is: {READING}; of the others: {TORCH}."]
    rows = [{"what": line.what, "rounds": [asdict(one) for one in line.rounds]} for line in every]
    publish("start", machine, {"rows": rows}, text, quick=args.quick)


if __name__ == "__main__":
    main()
