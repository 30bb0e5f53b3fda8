"""One shard: read -> check -> kernel -> write, a batch at a time, the three at the same time.

    reader thread    rows [start, stop) of batch n+1, checked for NaN and infinity
    this thread      kernel on batch n
    writer thread    CSR of batch n-1

Memory is bounded by a few batches, whatever the shard's size. The shard is hashed meanwhile, in a thread of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import saefetch
from encoder.csr import Csr, CsrWriter
from encoder.errors import ShardError
from encoder.kernels import Kernel
from encoder.quality import Quality, Sample
from encoder.sae import LoadedSae
from encoder.shard import Shard, Tokens
from encoder.submit import sha256_of


class Stopped(Exception):
    """The worker was told to stop; the shard is not done."""


@dataclass(slots=True)
class Progress:
    """How far a shard is, and the seconds spent in each stage so far; stages overlap."""

    n_rows: int = 0
    done: int = 0
    nnz: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("read", "kernel", "write"), 0.0))


def encode_shard(
    shard: Shard,
    sae: LoadedSae,
    kernel: Kernel,
    writer: CsrWriter,
    *,
    batch_tokens: int,
    select: dict[str, str],
    values: str,
    stopping: Callable[[], bool],
    watch: Callable[[Progress], None],
) -> Quality:
    """Encode all rows and finish the file under its temporary name; after each batch ask `stopping`, tell `watch`.

    Raises: ShardError if the shard is no good; Stopped.
    """
    if shard.d_in != sae.d_in:
        raise ShardError(
            f"{shard.path}: rows of {shard.d_in} numbers, but the SAE takes {sae.d_in}; another layer, hook or model?"
        )
    progress, sample = Progress(shard.n_rows), Sample(sae, shard.n_rows)
    status = shard.path.stat()
    starts = range(0, shard.n_rows, batch_tokens)
    with (
        ThreadPoolExecutor(1, "read") as reader,
        ThreadPoolExecutor(1, "write") as writing,
        ThreadPoolExecutor(1) as hashing,
    ):
        sha256 = hashing.submit(sha256_of, shard.path)
        tokens = reader.submit(shard.tokens)
        ahead = [reader.submit(_read, shard, start, batch_tokens, progress) for start in starts[:1]]
        written: Future[None] | None = None
        for number, start in enumerate(starts):
            x = ahead.pop().result()
            if number + 1 < len(starts):
                ahead.append(reader.submit(_read, shard, starts[number + 1], batch_tokens, progress))
            began = time.perf_counter()
            features = kernel.encode(x)
            progress.seconds["kernel"] += time.perf_counter() - began
            sample.add(x, features)
            if written is not None:
                written.result()
            written = writing.submit(_write, writer, features, progress)
            progress.done, progress.nnz = start + len(x), progress.nnz + len(features.indices)
            watch(progress)
            if stopping():
                raise Stopped
        if written is not None:
            written.result()
        quality = sample.score()
        writer.finish(
            {
                **sae.identity,
                **_identity_of_shard(shard.path, status.st_size, status.st_mtime_ns, sha256.result()),
                "architecture": sae.architecture,
                "hook_name": sae.hook_name,
                "d_in": sae.d_in,
                "d_sae": sae.d_sae,
                "values": values,
                "select": select,
                "dtype_read": shard.dtype,
                "n_tokens": shard.n_rows,
                "notes": [*shard.notes, *sae.notes],
                "quality": quality.document(),
                "saefetch_version": saefetch.__version__,
            },
            _checked(tokens.result(), shard),
        )
    return quality


def _identity_of_shard(path: Path, size: int, mtime_ns: int, sha256: str) -> dict[str, Any]:
    if path.stat().st_mtime_ns != mtime_ns or path.stat().st_size != size:
        raise ShardError(f"{path}: changed while it was read; submit it again when it is complete")
    return {
        "shard_path": str(path.absolute()),
        "shard_size": size,
        "shard_mtime_ns": mtime_ns,
        "shard_sha256": sha256,
    }


def _read(shard: Shard, start: int, batch_tokens: int, progress: Progress) -> torch.Tensor:
    began = time.perf_counter()
    x = shard.read(start, min(start + batch_tokens, shard.n_rows))
    finite = torch.isfinite(x).all(dim=1)
    if not finite.all():
        row = start + int((~finite).nonzero()[0])
        raise ShardError(f"{shard.path}: row {row:,} holds NaN or infinity; {int((~finite).sum()):,} such rows near it")
    progress.seconds["read"] += time.perf_counter() - began
    return x


def _write(writer: CsrWriter, features: Csr, progress: Progress) -> None:
    began = time.perf_counter()
    writer.append(features)
    progress.seconds["write"] += time.perf_counter() - began


def _checked(tokens: Tokens, shard: Shard) -> Tokens:
    for name in ("token_ids", "texts", "row_document", "row_position", "row_mask"):
        array = getattr(tokens, name)
        if array is not None and len(array) != shard.n_rows:
            raise ShardError(f"{shard.path}: {len(array):,} {name} for {shard.n_rows:,} rows; they must match")
    return tokens
