"""Benchmark a shard at an address against the same shard on disk: `python -m benchmarks.scale_store [--quick]`.

A shard of 1 GB, bf16 [tokens, 2304], and an SAE of 16,384 features. It is encoded from a path to a folder, and from an
address to an address of a store on this machine that is as far away as a fair S3: 20 ms before each answer, 100 MB/s a
stream (see `fair_s3`). The promise is 0.9 of the local rate.

Both ways take turns, after a short run that warms the kernels up. The best rate of each counts, as other programs take
their share of this machine; the processor's seconds of the encoder are shown beside, as the store itself works on the
same cores here and somewhere else in earnest.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

import encoder
from benchmarks.fair_s3 import BYTES_PER_S, LATENCY_S
from benchmarks.made_up import D, F, random_rows, write_params
from benchmarks.report import describe_machine, head, publish
from encoder.readers import DataFile
from encoder.stores.object_path import path_of
from encoder.stores.same import sha256_of

BATCH_TOKENS = 4096
N_TOKENS, N_DIFFERENT, N_ACTIVE, N_ROUNDS = 217_088, 8192, 95, 3
LIBRARIES = ("numba", "numpy", "obstore", "saefetch", "torch")
AIM = 0.9
ENVIRONMENT = {
    "AWS_ALLOW_HTTP": "true", "AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_REGION": "us-east-1",
}  # fmt: skip


@contextmanager
def store(root: Path) -> Iterator[None]:
    """Serve a folder as s3://bucket."""
    command = [sys.executable, "-m", "benchmarks.fair_s3", str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        os.environ |= ENVIRONMENT | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{int(process.stdout.readline())}"}
        yield
        process.stdin.close()


def write_shard(path: Path, decoder: tuple[torch.Tensor, torch.Tensor], n_tokens: int) -> None:
    """Write so many rows, in another order for each stretch of the N_DIFFERENT that are made."""
    rows = random_rows(decoder, N_DIFFERENT, torch.Generator().manual_seed(2), N_ACTIVE).bfloat16()
    bits: Any = rows.view(torch.int16).numpy().view("V2")
    path.parent.mkdir(parents=True)
    array = np.lib.format.open_memmap(path, "w+", "V2", (n_tokens, D))
    for number, at in enumerate(range(0, n_tokens, N_DIFFERENT)):
        order = np.random.default_rng(number).permutation(N_DIFFERENT)[: n_tokens - at]
        array[at : at + len(order)] = bits[order]
    array.flush()


def measure(acts: str | Path, out: str | Path, sae: Any) -> tuple[float, float]:
    """Encode; return the seconds it took, and those of this process' processors."""
    before, began = _cpu_s(), time.perf_counter()
    encoder.encode_files(acts, out, sae, progress=False)
    return time.perf_counter() - began, _cpu_s() - before


def read_alone(acts: Path) -> tuple[float, float]:
    """Read all rows and hash the shard beside, as an encode does, without a kernel; return both times as `measure`."""
    before, began, all_read = _cpu_s(), time.perf_counter(), threading.Event()
    shard = DataFile(acts, {}).shard_for(D)
    with ThreadPoolExecutor(1) as hashing:
        sha256 = hashing.submit(sha256_of, acts, lambda: False, all_read.is_set)
        for at in range(0, shard.n_rows, BATCH_TOKENS):
            shard.read(at, min(at + BATCH_TOKENS, shard.n_rows))
        all_read.set()
        sha256.result()
    return time.perf_counter() - began, _cpu_s() - before


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="an eighth of the tokens, one round; writes no results")
    parser.add_argument("--rounds", type=int, default=N_ROUNDS)
    args = parser.parse_args()
    n_tokens, n_rounds = (N_TOKENS // 8, 1) if args.quick else (N_TOKENS, args.rounds)
    with tempfile.TemporaryDirectory(prefix="saefetch-bench-") as name:
        folder, bucket = Path(name), Path(name) / "bucket"
        decoder = write_params(folder / "made-up" / "params.npz")
        sae = encoder.load_sae(sae_path=folder / "made-up" / "params.npz")
        write_shard(bucket / "acts" / "shard.npy", decoder, n_tokens)
        write_shard(folder / "short" / "shard.npy", decoder, N_DIFFERENT)
        rounds: list[tuple[tuple[float, float], tuple[float, float]]] = []
        with store(bucket):
            measure(folder / "short", folder / "short-out", sae)
            acts = bucket / "acts" / "shard.npy", path_of("s3://bucket/acts/shard.npy")
            alone = [min(read_alone(path) for _ in range(n_rounds)) for path in acts]
            for _ in range(n_rounds):
                local = measure(bucket / "acts", folder / "out", sae)
                away = measure("s3://bucket/acts", "s3://bucket/out", sae)
                rounds.append((local, away))
                one, other = (encoder.open_features(path) for path in (folder / "out", bucket / "out"))
                same = bool((one[:] != other[:]).nnz == 0)
                shutil.rmtree(folder / "out")
                shutil.rmtree(bucket / "out")
        n_bytes = (bucket / "acts" / "shard.npy").stat().st_size
    (local_s, local_cpu), (away_s, away_cpu) = (min(one[way] for one in rounds) for way in (0, 1))
    share = local_s / away_s
    machine = describe_machine("scale_store", LIBRARIES)
    lines = head("A shard at an address", machine)
    lines += [
        "",
        f"{n_tokens:,} tokens, {n_bytes / 1e9:.2f} GB, {D:,} -> {F:,}; the store answers after {LATENCY_S * 1e3:.0f} ms"
        f" and gives {BYTES_PER_S / 1e6:.0f} MB/s a stream:",
        "",
        "| from | seconds | tokens/s | MB/s | processor seconds |",
        "|---|---|---|---|---|",
        f"| a path to a folder | {local_s:.1f} | {n_tokens / local_s:,.0f} | {n_bytes / local_s / 1e6:.0f}"
        f" | {local_cpu:.1f} |",
        f"| an address to an address | {away_s:.1f} | {n_tokens / away_s:,.0f} | {n_bytes / away_s / 1e6:.0f}"
        f" | {away_cpu:.1f} |",
        *(
            f"| {where}, reading and hashing alone | {wall:.1f} | {n_tokens / wall:,.0f} | {n_bytes / wall / 1e6:.0f}"
            f" | {cpu:.1f} |"
            for where, (wall, cpu) in zip(("a path", "an address"), alone, strict=True)
        ),
        "",
        f"{share:.2f} of the local rate; the aim is {AIM}. Rounds: "
        + ", ".join(f"{one[0]:.1f} s and {other[0]:.1f} s" for one, other in rounds)
        + f". The features are {'the same' if same else 'NOT THE SAME'}.",
    ]
    document = {
        "tokens": n_tokens,
        "bytes": n_bytes,
        "rounds": rounds,
        "read_alone": alone,
        "share": share,
        "same": same,
    }
    publish("scale-store", machine, document, lines, quick=args.quick)
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
