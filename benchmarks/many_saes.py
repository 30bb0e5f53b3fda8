"""Benchmark many SAEs over one capture: `python -m benchmarks.many_saes [--quick]`.

A capture of 12 layers, bf16, [token, 2304] each, and an SAE of 16,384 features for each layer: encoded in one run of
all SAEs, and in a run for each. The promise is that the one run takes at most 1.1 of the sum of the kernels' times, as
reading, checking, writing and publishing happen beside the kernels.

The time of the one run is that of its shard, from the first batch to the publication of all results: loading SAEs and
preparing their kernels, which both ways do alike, is left out. Kernels are warmed up by a run before. Rounds of both
ways take turns, as other programs may take their share of this machine; the middle one is shown. A single run's kernel
is slowed by the hashing of the whole capture beside it, which the one run does once; so the one run is also compared
with its own kernels.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import encoder
from benchmarks.made_up import D, F, random_rows, write_params
from benchmarks.report import describe_machine, head, publish
from encoder.options import Options
from encoder.queue.queue import Queue
from encoder.sae.sae import LoadedSae
from encoder.work.display import Quiet
from encoder.work.named import names_of
from encoder.work.submit import inputs_of, tickets_of
from encoder.work.totals import Totals
from encoder.work.worker import Worker

N_LAYERS, N_TOKENS, N_ACTIVE, N_ROUNDS = 12, 8192, 95, 3
LIBRARIES = ("numba", "numpy", "sae-lens", "saefetch", "scipy", "torch")
AIM = 1.1


class Timed(Quiet):
    """Hears when the encoding of a shard begins, and when its results are published."""

    def __init__(self) -> None:
        self.seconds, self._began = 0.0, 0.0

    def begin(self, job: str, n_rows: int) -> None:
        self._began = time.perf_counter()

    def end(self, job: str, line: str, did: Totals) -> None:
        self.seconds = time.perf_counter() - self._began


def kernels_of(singles: list[tuple[float, Totals]]) -> float:
    """Return the sum of the kernels' times of single runs."""
    return sum(totals.seconds["kernel"] for _, totals in singles)


def hook(layer: int) -> str:
    return f"blocks.{layer}.hook_resid_post"


def write_sae(folder: Path, weights: Path, layer: int) -> Path:
    """Write an SAE in SAELens' layout: the same weights for each layer, loaded anew for each."""
    folder.mkdir(parents=True)
    (folder / "sae_weights.safetensors").hardlink_to(weights)
    config = {"architecture": "jumprelu", "d_in": D, "d_sae": F, "dtype": "float32", "device": "cpu"}
    config |= {"apply_b_dec_to_input": False, "normalize_activations": "none"}
    config |= {"metadata": {"hook_name": hook(layer), "model_name": "made-up"}}
    (folder / "cfg.json").write_text(json.dumps(config))
    return folder


def measure(acts: Path, out: Path, saes: list[LoadedSae], queue: Path) -> tuple[float, Totals]:
    """Encode the capture; return the seconds of its shard, and the sums of the stages."""
    timed, options = Timed(), Options(saes_at_once=len(saes), device="cpu")
    worker = Worker(Queue(queue, create=True), options, timed, saes=saes)
    for _ in range(2):  # the first time warms the kernels up
        shutil.rmtree(out, ignore_errors=True)
        worker.totals = Totals()
        tickets = tickets_of(inputs_of([acts]), out, names_of(list(saes)), {})
        Queue(queue).submit(tickets, again=True)
        worker.run()
    return timed.seconds, worker.totals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="an eighth of the tokens; writes no results")
    args = parser.parse_args()
    n_tokens = N_TOKENS // 8 if args.quick else N_TOKENS
    with tempfile.TemporaryDirectory(prefix="saefetch-bench-") as name:
        folder = Path(name)
        decoder = write_params(folder / "made-up" / "params.npz")
        arrays = encoder.load_sae(sae_path=folder / "made-up" / "params.npz").source.state_dict()
        weights = folder / "weights.safetensors"
        save_file({key: tensor.contiguous() for key, tensor in arrays.items()}, weights)
        paths = [write_sae(folder / "saes" / f"layer_{layer}", weights, layer) for layer in range(N_LAYERS)]
        rows = random_rows(decoder, n_tokens, torch.Generator().manual_seed(2), N_ACTIVE).bfloat16()
        acts = folder / "acts" / "capture.safetensors"
        acts.parent.mkdir()
        save_file({hook(layer): rows.roll(layer, 0).contiguous() for layer in range(N_LAYERS)}, acts)
        saes = [encoder.load_sae(sae_path=path) for path in paths]
        rounds = []
        for number in range(1 if args.quick else N_ROUNDS):
            queues = folder / f"queues-{number}"
            one_run = measure(acts.parent, folder / "all", saes, queues / "all")
            singles = [
                measure(acts.parent, folder / f"one-{layer}", [sae], queues / str(layer))
                for layer, sae in enumerate(saes)
            ]
            rounds.append((one_run, singles))
        same = all(
            path.read_bytes() == (folder / "all" / path.relative_to(folder / f"one-{layer}")).read_bytes()
            for layer in range(N_LAYERS)
            for path in (folder / f"one-{layer}").rglob("*.npz")
        )
    shares = [seconds / kernels_of(singles) for (seconds, _), singles in rounds]
    (all_s, of_all), singles = rounds[shares.index(sorted(shares)[len(shares) // 2])]
    document: dict[str, Any] = {
        "tokens": n_tokens,
        "one_run_s": all_s,
        "one_run_stages_s": of_all.seconds,
        "single_runs_s": sum(seconds for seconds, _ in singles),
        "single_runs_kernel_s": kernels_of(singles),
        "shares": shares,
        "same_bytes": same,
    }
    machine = describe_machine("many_saes", LIBRARIES)
    stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in of_all.seconds.items())
    lines = head(f"{N_LAYERS} SAEs over one capture", machine)
    lines += [
        "",
        f"{n_tokens:,} tokens of {N_LAYERS} layers, {D:,} -> {F:,}, {of_all.nnz / of_all.rows:.0f} active:",
        "",
    ]
    lines += [f"- one run of all SAEs: {all_s:.2f} s ({stages})"]
    lines += [f"- a run for each: {document['single_runs_s']:.2f} s, of which the kernels {kernels_of(singles):.2f} s"]
    shown = ", ".join(f"{share:.2f}" for share in shares)
    lines += [f"- one run over the sum of the single runs' kernels, in rounds: {shown}; at most {AIM} is promised"]
    lines += [f"- one run over its own kernels: {all_s / of_all.seconds['kernel']:.3f}"]
    lines += [f"- the bytes of all results are {'the same' if same else 'NOT the same'}"]
    publish("many-saes", machine, document, lines, quick=args.quick)


if __name__ == "__main__":
    main()
