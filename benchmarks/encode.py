"""Benchmark the encoder end to end: `python -m benchmarks.encode [--quick]`, or `make bench`.

A shard of bf16 activations of a 2,304 -> 16,384 JumpReLU SAE, from the file to the file of features, with two threads:
ours against the script in people_encode.py, in turns. Seconds are of encoding, without loading torch and the SAE; peak
memory is of the whole process, its 300 MB of weights included. The activations are made up, so that about 100 features
fire on each token.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from safetensors.torch import save_file

from benchmarks.made_up import random_rows, write_params
from benchmarks.process import Run, run
from benchmarks.report import describe_machine, head, publish

N_TOKENS, TIMES_LARGER, N_ACTIVE = 32_768, 10, 95
LIBRARIES = ("numba", "numpy", "sae-lens", "saefetch", "scipy", "torch")
COLUMNS = "| what | tokens/s | encoding s | process s | peak MB | mean L0 | bytes a token on disk | rounds | stages |"


@dataclass(frozen=True, slots=True)
class Encoded:
    """One run over one shard: the process, and what it says of its encoding."""

    process: Run
    rows: int
    nnz: int
    encoding_s: float
    n_bytes: int
    stages_s: dict[str, float]


def ours(folder: Path, shard: Path, *flags: str) -> Encoded:
    """Submit the shard to an empty queue and work it off in a process of its own."""
    queue = folder / "queue"
    shutil.rmtree(queue, ignore_errors=True)
    command = Path(sys.executable).parent / "sae-encode"
    submit = [command, "submit", shard, "--queue", queue, "--sae-path", folder / "sae" / "params.npz"]
    subprocess.run(submit, check=True, stdout=subprocess.DEVNULL)
    process = run([command, "work", "--queue", queue, "--json", "--quiet", "--device", "cpu", *flags])
    (ticket,), (out,) = (queue / "done").iterdir(), (queue / "out").glob("*.npz")
    result = json.loads(ticket.read_text())["result"]
    stages_s = {stage: round(seconds, 2) for stage, seconds in process.said["seconds"].items()}
    return Encoded(process, result["rows"], result["nnz"], result["seconds"], out.stat().st_size, stages_s)


def theirs(folder: Path, shard: Path) -> Encoded:
    out = folder / "theirs.npz"
    command = [sys.executable, "-m", "benchmarks.people_encode", "--acts", shard, "--out", out]
    process = run([*command, "--sae", folder / "sae" / "params.npz"])
    said = process.said
    return Encoded(process, said["rows"], said["nnz"], said["encoding_s"], out.stat().st_size, {})


def row(what: str, runs: Sequence[Encoded]) -> dict[str, Any]:
    """Sum up the runs of one way, by medians; print the line of the table."""
    encoding_s = median(one.encoding_s for one in runs)
    middle = sorted(runs, key=lambda one: one.encoding_s)[len(runs) // 2]
    summed = {
        "what": what,
        "tokens_per_s": runs[0].rows / encoding_s,
        "encoding_s": encoding_s,
        "process_s": median(one.process.wall_s for one in runs),
        "peak_mb": max(one.process.peak_mb for one in runs),
        "mean_l0": runs[0].nnz / runs[0].rows,
        "bytes_per_token": runs[0].n_bytes / runs[0].rows,
        "rounds": len(runs),
        "stages_s": middle.stages_s,
        "runs": [asdict(one) for one in runs],
    }
    print(line(summed), file=sys.stderr, flush=True)
    return summed


def line(summed: dict[str, Any]) -> str:
    stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in summed["stages_s"].items())
    return (
        "| {what} | {tokens_per_s:,.0f} | {encoding_s:.2f} | {process_s:.1f} | {peak_mb:,.0f} | {mean_l0:.1f} "
        "| {bytes_per_token:,.0f} | {rounds} |".format(**summed)
        + f" {stages} |"
    )


def measure(folder: Path, quick: bool) -> list[dict[str, Any]]:
    """Measure everything; return the rows of the table, ours in float32 and theirs first."""
    n_tokens, rounds = (N_TOKENS // 8, 1) if quick else (N_TOKENS, 3)
    decoder = write_params(folder / "sae" / "params.npz")
    x = random_rows(decoder, n_tokens, torch.Generator().manual_seed(2), N_ACTIVE).bfloat16()
    shard, larger = folder / "shard.safetensors", folder / "larger.safetensors"
    save_file({"acts": x}, shard)
    save_file({"acts": x.repeat(TIMES_LARGER, 1)}, larger)
    del x, decoder
    ours(folder, shard)  # compiles the kernels, once for this machine
    both = [(ours(folder, shard), theirs(folder, shard)) for _ in range(rounds)]
    return [
        row(f"{n_tokens:,} bf16 tokens: sae-encode", [one for one, _ in both]),
        row(f"{n_tokens:,} bf16 tokens: SAELens sae.encode, float32, scipy csr_matrix", [one for _, one in both]),
        row(f"{n_tokens:,} bf16 tokens: sae-encode --values float16", [ours(folder, shard, "--values", "float16")]),
        row(f"{n_tokens * TIMES_LARGER:,} bf16 tokens: sae-encode", [ours(folder, larger)]),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="an eighth of everything, once; writes no results")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="saefetch-bench-") as folder:
        rows = measure(Path(folder), args.quick)
    mine, today, _, larger = rows
    times = mine["tokens_per_s"] / today["tokens_per_s"]
    growth = larger["peak_mb"] - mine["peak_mb"]
    machine = describe_machine("encode", LIBRARIES)
    lines = head("Encoding", machine)
    lines += ["", COLUMNS, "|---|" + "---:|" * 7 + "---|", *map(line, rows), ""]
    lines += [f"- tokens/s over those of SAELens and scipy, medians of one run: {times:.2f}"]
    lines += [f"- peak memory for a shard {TIMES_LARGER} times larger: {growth:+.0f} MB"]
    publish("encode", machine, {"rows": rows}, lines, quick=args.quick)


if __name__ == "__main__":
    main()
