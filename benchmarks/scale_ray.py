"""Benchmark `--engine ray`: `python -m benchmarks.scale_ray [--quick]`.

1. Ray against `--workers`, two workers on this machine: the same shards of bf16 activations, 2,304 -> 16,384. The rate
   is that of all shards but the first of each worker, from the moment those are done: without starting Ray, Python and
   torch, and without loading the SAE. Rounds of both take turns; the middle ones are compared.
2. Many small shards: the time of a shard, the driver's memory on the way, and the start of a run that finds all done.
3. Scheduling alone: workers that return a receipt at once.
4. What 64 GPUs would do with 10^12 tokens, by simulation from these figures, see `scale_simulated`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
import torch
from safetensors.torch import save_file

from benchmarks.made_up import D, F, random_rows, write_params
from benchmarks.report import Aim, describe_machine, head, promises, publish
from benchmarks.scale_simulated import Scene, table
from encoder.engines.cluster.actors import Actors, OnRay
from encoder.engines.cluster.connect import connected
from encoder.engines.cluster.dispatch import Dispatcher
from encoder.engines.cluster.letters import Card, Receipt, brief_of
from encoder.engines.cluster.tally import Tally
from encoder.engines.run import run
from encoder.options import Options
from encoder.queue.ticket import Ticket
from encoder.work.display import Quiet
from encoder.work.named import name_of

N_WORKERS, N_SHARDS, N_TOKENS, N_ACTIVE, N_ROUNDS = 2, 14, 4096, 95, 3
N_SMALL, SMALL_ROWS = 10_000, 8
LIBRARIES = ("numba", "numpy", "ray", "saefetch", "torch")
RATE_AIM, SCHEDULING_AIM_MS, GROWTH_AIM_MB = 0.9, 5.0, 50.0


@dataclass(slots=True)
class Ends:
    """Hears when shards are done, and looks at this process' memory every so many."""

    every: int = 1
    seconds: list[float] = field(default_factory=list)
    resident_mb: list[float] = field(default_factory=list)

    def __call__(self, done: int, total: int, text: str) -> None:
        if ": " in text and ", L0 " in text:
            self.seconds.append(time.perf_counter())
            if len(self.seconds) % self.every == 0:
                self.resident_mb.append(psutil.Process().memory_info().rss / 1e6)


def rate(acts: Path, out: Path, sae: dict[str, Any], engine: str) -> float:
    """Return tokens a second once each worker has done a shard."""
    shutil.rmtree(out, ignore_errors=True)
    ends = Ends()
    options = Options(engine=engine, workers=N_WORKERS)
    ended = run([acts], out, sae, options, select={}, progress=ends)
    assert not ended.n_missing, ended.outcome
    began, *_, last = ends.seconds[N_WORKERS - 1 :]
    return (len(ends.seconds) - N_WORKERS) * N_TOKENS / (last - began)


class Idle(OnRay):
    """A worker that does nothing."""

    def prepare(self, node: str) -> str:
        return Card("here", node, os.getpid()).to_json()

    def encode(self, letter: str) -> str:
        return Receipt(letter.partition('"job": "')[2].partition('"')[0], "done").to_json()


def scheduling_s(n_shards: int, n_workers: int) -> tuple[float, float]:
    """Return the seconds of wall and of this process' CPUs for one shard of workers that do nothing."""
    tickets = [Ticket(f"s{n:06}", f"/acts/s{n:06}.npy", f"/out/s{n:06}.npz", {}) for n in range(n_shards)]
    with connected(None):
        brief = brief_of(Options(), tickets, run="0")
        with Actors(brief, n_workers, {"num_cpus": 0.01, "num_gpus": 0.0}, Idle) as crew:
            marks: list[tuple[float, float]] = []

            class Heard(Quiet):
                def end(self, job: str, line: str, did: object) -> None:
                    marks.append((time.perf_counter(), time.process_time()))

            stopping, sizes = threading.Event(), [1] * n_shards
            dispatcher = Dispatcher(
                crew, tickets, sizes, Heard(), stopping, lease_s=60, max_attempts=3, tally=Tally(n_shards)
            )
            dispatcher.run()
    (began, began_cpu), (ended, ended_cpu) = marks[n_workers], marks[-1]
    n = len(marks) - n_workers - 1
    return (ended - began) / n, (ended_cpu - began_cpu) / n


def small_shards(folder: Path, n_shards: int) -> dict[str, Any]:
    """Encode many small shards, and return how long one takes, what the driver's memory does, and a second start."""
    random = torch.Generator().manual_seed(1)
    W_dec = torch.nn.functional.normalize(torch.randn(64, 48, generator=random), dim=1)
    arrays = {"W_enc": W_dec.T.contiguous(), "W_dec": W_dec, "b_enc": torch.zeros(64), "b_dec": torch.zeros(48)}
    np.savez(folder / "small.npz", threshold=np.full(64, 5, np.float32), **{k: v.numpy() for k, v in arrays.items()})
    acts = folder / "small"
    acts.mkdir()
    rows = 8 * W_dec[torch.randint(64, (SMALL_ROWS,), generator=random)]
    for number in range(n_shards):
        save_file({"x": rows.clone()}, acts / f"s{number:05}.safetensors")
    sae, options = name_of(folder / "small.npz"), Options(engine="ray", workers=N_WORKERS)
    ends = Ends(every=max(1, n_shards // 10))
    ended = run([acts], folder / "small-out", sae, options, select={}, progress=ends)
    assert not ended.n_missing and ended.outcome["done"] == n_shards
    began = time.perf_counter()
    again = run([acts], folder / "small-out", sae, options, select={}, progress=False)
    assert again.outcome["skipped"] == n_shards
    return {
        "shard_ms": 1e3 * (ends.seconds[-1] - ends.seconds[0]) / (n_shards - 1),
        "resident_mb": ends.resident_mb,
        "look_ms": 1e3 * (time.perf_counter() - began) / n_shards,
    }


def medians(measure: Callable[[str], float], n_rounds: int) -> dict[str, float]:
    found: dict[str, list[float]] = {"local": [], "ray": []}
    for _ in range(n_rounds):
        for engine in found:
            found[engine].append(measure(engine))
    return {engine: median(rates) for engine, rates in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few shards, one round; writes no results")
    args = parser.parse_args()
    n_shards, n_small, n_rounds = (6, 300, 1) if args.quick else (N_SHARDS, N_SMALL, N_ROUNDS)
    with tempfile.TemporaryDirectory(prefix="saefetch-bench-") as name:
        folder = Path(name)
        decoder = write_params(folder / "made-up" / "params.npz")
        rows = random_rows(decoder, N_TOKENS, torch.Generator().manual_seed(2), N_ACTIVE).bfloat16()
        acts = folder / "acts"
        acts.mkdir()
        for number in range(n_shards):
            save_file({"x": rows.roll(number, 0).contiguous()}, acts / f"s{number:02}.safetensors")
        sae = name_of(folder / "made-up" / "params.npz")
        rates = medians(lambda engine: rate(acts, folder / engine, sae, engine), n_rounds)
        same = all(
            path.read_bytes() == (folder / "ray" / path.name).read_bytes() for path in (folder / "local").iterdir()
        )
        small = small_shards(folder, n_small)
    alone = {n_workers: scheduling_s(n_small, n_workers) for n_workers in (1, 2, 8)}
    share, growth_mb = rates["ray"] / rates["local"], small["resident_mb"][-1] - small["resident_mb"][0]
    wall_ms = 1e3 * alone[N_WORKERS][0]
    simulated = table(Scene(scheduling_s=alone[N_WORKERS][0]))
    aims = [
        Aim("Ray's rate of `--workers`'", f">= {RATE_AIM}", f"{share:.2f}", share >= RATE_AIM),
        Aim("scheduling of a shard", f"<= {SCHEDULING_AIM_MS} ms", f"{wall_ms:.2f} ms", wall_ms <= SCHEDULING_AIM_MS),
        Aim("the driver's growth", f"<= {GROWTH_AIM_MB} MB", f"{growth_mb:.1f} MB", growth_mb <= GROWTH_AIM_MB),
        Aim("the same bytes", "all", "all" if same else "NOT", same),
    ]
    machine = describe_machine("scale_ray", LIBRARIES)
    lines = head("--engine ray", machine)
    lines += ["", f"{n_shards} shards of {N_TOKENS:,} tokens, {D:,} -> {F:,}, {N_WORKERS} workers:", ""]
    lines += ["| engine | tokens/s |", "|---|---:|", *(f"| {name} | {each:,.0f} |" for name, each in rates.items())]
    lines += ["", f"{n_small:,} shards of {SMALL_ROWS} rows, {N_WORKERS} workers:", "", "| | |", "|---|---:|"]
    lines += [f"| a shard, with reading, encoding and publication | {small['shard_ms']:.2f} ms |"]
    lines += [f"| looking at a result that is there, when a run starts | {small['look_ms']:.2f} ms |"]
    lines += [f"| the driver's memory after each tenth, MB | {', '.join(f'{mb:.0f}' for mb in small['resident_mb'])} |"]
    for n_workers, (each, cpu) in alone.items():
        told = f"{1e3 * each:.2f} ms, {1e3 * cpu:.2f} ms of the driver's CPU"
        lines += [f"| scheduling alone, {n_workers} workers that do nothing | {told} |"]
    lines += ["", f"Simulated with the {wall_ms:.2f} ms of these, a worker at 10^6 tokens/s:", "", *simulated, ""]
    lines += promises(aims)
    document = {"rates": rates, "small": small, "scheduling_s": {str(n): each for n, each in alone.items()}}
    publish("scale-ray", machine, document, lines, quick=args.quick)


if __name__ == "__main__":
    main()
