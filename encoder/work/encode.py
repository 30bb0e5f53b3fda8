"""One shard: read -> check -> copy -> kernel -> write, a batch at a time, all at the same time.

    reader thread    rows [start, stop) of batch n+1, checked for NaN and infinity, on their way to the device
    this thread      kernel on batch n
    writer thread    CSR of batch n-1

Memory is bounded by a few batches, whatever the shard's size. The shard is hashed meanwhile, in a thread of its own.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import saefetch
from encoder.errors import ShardError
from encoder.file.csr import Csr, CsrWriter
from encoder.kernels import Kernel
from encoder.sae.quality import Quality, Sample
from encoder.sae.right_hook import check_hook
from encoder.sae.sae import LoadedSae
from encoder.shard import Shard, Tokens
from encoder.work.sound import unsound_rows
from saefetch.files.digest import Stopped, sha256_of

STAGES = ("read", "copy", "kernel", "write")


@dataclass(slots=True)
class Progress:
    """How far a shard is, and the seconds spent in each stage so far; stages overlap."""

    n_rows: int = 0
    done: int = 0
    nnz: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - began


def encode_shard(
    shard: Shard,
    sae: LoadedSae,
    kernel: Kernel,
    writer: CsrWriter,
    *,
    batch_tokens: int,
    settings: dict[str, Any],
    status: os.stat_result,
    stopping: Callable[[], bool],
    watch: Callable[[Progress], None],
) -> Quality:
    """Encode all rows and finish the file under its temporary name; after each batch ask `stopping`, tell `watch`.

    `settings` are members of `meta`. `status` is the data file's from before it was opened: it must be the same file at
    the end. Raises: ShardError if the shard is no good; Stopped.
    """
    if shard.d_in != sae.d_in:
        raise ShardError(
            f"{shard.path}: rows of {shard.d_in} numbers, but the SAE takes {sae.d_in}; another layer, hook or model?"
        )
    hook_notes = check_hook(shard, sae, settings.get("select", {}))
    progress, sample = Progress(shard.n_rows), Sample(sae, shard.n_rows)
    ended = threading.Event()
    starts = range(0, shard.n_rows, batch_tokens)

    def read(start: int) -> tuple[torch.Tensor, Callable[[], Csr]]:
        with progress.timed("read"):
            x = _read(shard, start, min(start + batch_tokens, shard.n_rows))
        with progress.timed("copy"):
            return x, kernel.stage(x)

    def write(features: Csr) -> None:
        with progress.timed("write"):
            writer.append(features)

    with (
        ThreadPoolExecutor(1, "read") as reading,
        ThreadPoolExecutor(1, "write") as writing,
        ThreadPoolExecutor(1, "hash") as hashing,
        _set_at_the_end(ended),  # when a batch fails or the worker stops, nobody waits for the hash
    ):
        sha256 = hashing.submit(sha256_of, shard.path, ended.is_set)
        tokens = reading.submit(shard.tokens)
        ahead = [reading.submit(read, start) for start in starts[:1]]
        written: Future[None] | None = None
        for number, start in enumerate(starts):
            x, encode = ahead.pop().result()
            if number + 1 < len(starts):
                ahead.append(reading.submit(read, starts[number + 1]))
            with progress.timed("kernel"):
                features = encode()
            sample.add(x, features)
            if written is not None:
                written.result()
            written = writing.submit(write, features)
            progress.done, progress.nnz = start + len(x), progress.nnz + len(features.indices)
            watch(progress)
            if stopping():
                raise Stopped
        if written is not None:
            written.result()
        quality = sample.score()
        meta = {
            **sae.identity,
            **settings,
            **_identity_of_shard(shard.path, status, sha256.result()),
            "architecture": sae.architecture,
            "hook_name": sae.hook_name,
            "sae_trained_on": sae.trained_on,
            "d_in": sae.d_in,
            "d_sae": sae.d_sae,
            "dtype_read": shard.dtype,
            "n_tokens": shard.n_rows,
            "notes": [*shard.notes, *hook_notes, *sae.notes],
            "quality": quality.document(),
            "warning": quality.warning(sae.expected_l0),
            "saefetch_version": saefetch.__version__,
        }
        with progress.timed("write"):
            writer.finish(meta, _checked(tokens.result(), shard))
    return quality


@contextmanager
def _set_at_the_end(event: threading.Event) -> Iterator[None]:
    try:
        yield
    finally:
        event.set()


def _identity_of_shard(path: Path, before: os.stat_result, sha256: str) -> dict[str, Any]:
    after = path.stat()
    if any(getattr(after, name) != getattr(before, name) for name in ("st_size", "st_mtime_ns", "st_ino")):
        raise ShardError(f"{path}: changed while it was read; submit it again when it is complete")
    return {
        "shard_path": str(path.absolute()),
        "shard_size": before.st_size,
        "shard_mtime_ns": before.st_mtime_ns,
        "shard_sha256": sha256,
    }


def _read(shard: Shard, start: int, stop: int) -> torch.Tensor:
    x = shard.read(start, stop)
    bad = start + unsound_rows(x)
    if len(bad):
        raise ShardError(
            f"{shard.path}: row {int(bad[0]):,} holds NaN or infinity ({len(bad):,} of the rows {start:,} to"
            f" {stop - 1:,} do); nothing of this shard is written"
        )
    return x


def _checked(tokens: Tokens, shard: Shard) -> Tokens:
    for name in ("token_ids", "texts", "row_document", "row_position", "row_mask"):
        array = getattr(tokens, name)
        if array is not None and len(array) != shard.n_rows:
            raise ShardError(f"{shard.path}: {len(array):,} {name} for {shard.n_rows:,} rows; they must match")
    return tokens
