"""One shard: read -> check -> copy -> kernel -> write, a batch at a time, all at the same time.

    reader thread    rows [start, stop) of batch n+1, checked for NaN and infinity, on their way to the device
    this thread      kernel on batch n
    writer thread    CSR of batch n-1

Memory is bounded by a few batches, whatever the shard's size. The shard is hashed meanwhile, in a thread of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import saefetch
from encoder.arrays import F64, I64, Bool
from encoder.errors import ChangingError, ShardError
from encoder.file.csr import Csr, CsrWriter
from encoder.kernels import Kernel
from encoder.rows import Exclude
from encoder.sae.quality import Quality, Sample
from encoder.sae.right_hook import check_hook
from encoder.sae.sae import LoadedSae
from encoder.shard import Shard
from encoder.work.counting import Counted
from encoder.work.progress import Progress
from encoder.work.remarks import Oddities
from encoder.work.sound import unsound_rows
from saefetch.files.digest import Status, Stopped, sha256_of, status_of


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows [start, start + T): `x` [T, D] as they were read, `counts` bool [T], and what encodes them.

    `unsound` are rows that do not count and hold NaN or infinity. They are zeros in `x`, and have no features.
    """

    start: int
    x: torch.Tensor
    counts: Bool
    unsound: I64
    encode: Callable[[], Csr]

    def features(self) -> Csr:
        found = self.encode()
        return found.emptied(self.unsound) if len(self.unsound) else found


@dataclass(frozen=True, slots=True)
class Encoded:
    """What was found out of a shard: rows that do not count by reason, and the number of values of those that do.

    `remarks` are sentences for the user, on what is odd about the rows.
    """

    n_rows: int
    excluded: dict[str, int]
    nnz_counted: int
    quality: Quality
    remarks: tuple[str, ...]

    @property
    def n_counted(self) -> int:
        return self.n_rows - sum(self.excluded.values())

    @property
    def mean_l0(self) -> float:
        """Active features a row, of the rows that count."""
        return self.nnz_counted / max(1, self.n_counted)


def encode_shard(
    shard: Shard,
    sae: LoadedSae,
    kernel: Kernel,
    writer: CsrWriter,
    *,
    batch_tokens: int,
    settings: dict[str, Any],
    status: Status,
    stopping: Callable[[], bool],
    watch: Callable[[Progress], None],
) -> Encoded:
    """Encode all rows and finish the file under its temporary name; after each batch ask `stopping`, tell `watch`.

    `settings` are members of `meta`; `exclude` among them says which rows do not count, and a norm in it costs a second
    reading of the shard. `status` is the data file's from before it was opened: it must be the same file at the end.
    Raises: ShardError if the shard is no good; Stopped.
    """
    if shard.d_in != sae.d_in:
        raise ShardError(
            f"{shard.path}: give the SAE of these activations: rows of {shard.d_in} numbers, but the SAE takes"
            f" {sae.d_in}"
        )
    hook_notes = check_hook(shard, sae, settings.get("select", {}))
    progress, sample, oddities = Progress(shard.n_rows), Sample(sae), Oddities()
    exclude = Exclude.of_document(settings.get("exclude"))
    ended = threading.Event()
    starts = range(0, shard.n_rows, batch_tokens)

    def read(start: int) -> torch.Tensor:
        with progress.timed("read"):
            return shard.read(start, min(start + batch_tokens, shard.n_rows))

    def stage(start: int) -> Batch:
        x = read(start)
        counts = counted.counts(start, start + len(x))
        with progress.timed("read"):
            x, unsound = _made_sound(shard, x, start, counts)
        with progress.timed("copy"):
            return Batch(start, x, counts, unsound, kernel.stage(x))

    def write(x: torch.Tensor, features: Csr, counts: Bool) -> None:
        with progress.timed("write"):
            oddities.add(x, counts)
            writer.append(features)

    with (
        ThreadPoolExecutor(1, "read") as reading,
        ThreadPoolExecutor(1, "write") as writing,
        ThreadPoolExecutor(1, "hash") as hashing,
        _set_at_the_end(ended),  # when a batch fails or the worker stops, nobody waits for the hash
    ):
        sha256 = hashing.submit(sha256_of, shard.path, ended.is_set)
        norms = partial(_norms, read, starts, stopping)
        counted = reading.submit(lambda: Counted.of(shard.tokens(), shard, exclude, norms)).result()
        written: Future[None] | None = None
        n_unsound = 0
        for batch in _ahead(reading, stage, starts):
            with progress.timed("kernel"):
                features = batch.features()
            sample.add(batch.x, features, batch.counts)
            if written is not None:
                written.result()
            written = writing.submit(write, batch.x, features, batch.counts)
            n_unsound += len(batch.unsound)
            progress.done = batch.start + len(batch.x)
            progress.n_counted += int(batch.counts.sum())
            progress.nnz_counted += int(np.diff(features.indptr)[batch.counts].sum())
            watch(progress)
            if stopping():
                raise Stopped
        if written is not None:
            written.result()
        quality = sample.score()
        odd = [*_of_unsound(n_unsound), *oddities.remarks()]
        remarks = (*hook_notes, *counted.notes, *odd, *filter(None, [quality.remark()]))
        encoded = Encoded(shard.n_rows, counted.excluded, progress.nnz_counted, quality, remarks)
        identity = _identity_of_shard(shard.path, status, sha256.result())
        with progress.timed("write"):
            writer.finish(_meta(shard, sae, settings | identity, encoded), counted.tokens)
    return encoded


def _ahead(reading: ThreadPoolExecutor, stage: Callable[[int], Batch], starts: range) -> Iterator[Batch]:
    """Yield each batch, while the next one is read."""
    ahead = [reading.submit(stage, start) for start in starts[:1]]
    for number in range(len(starts)):
        batch = ahead.pop().result()
        if number + 1 < len(starts):
            ahead.append(reading.submit(stage, starts[number + 1]))
        yield batch


def _norms(read: Callable[[int], torch.Tensor], starts: range, stopping: Callable[[], bool]) -> F64:
    """Return the norm of every row, in a pass of its own over the shard, also of rows that hold NaN or infinity.

    Raises: ShardError, Stopped.
    """
    found = [np.zeros(0)]
    for start in starts:
        found.append(torch.linalg.vector_norm(read(start), dim=1, dtype=torch.float64).numpy())
        if stopping():
            raise Stopped
    return np.concatenate(found)


def _meta(shard: Shard, sae: LoadedSae, settings: dict[str, Any], encoded: Encoded) -> dict[str, Any]:
    return {
        **sae.identity,
        **settings,
        **sae.facts,
        "dtype_read": shard.dtype,
        "n_tokens": shard.n_rows,
        "excluded": encoded.excluded,
        "notes": [*shard.notes, *sae.notes, *encoded.remarks],
        "quality": encoded.quality.document(),
        "warning": encoded.quality.warning(sae.expected_l0),
        "saefetch_version": saefetch.__version__,
    }


@contextmanager
def _set_at_the_end(event: threading.Event) -> Iterator[None]:
    try:
        yield
    finally:
        event.set()


def _identity_of_shard(path: Path, before: Status, sha256: str) -> dict[str, Any]:
    after = status_of(path)
    if any(getattr(after, name) != getattr(before, name) for name in ("st_size", "st_mtime_ns", "st_ino")):
        raise ChangingError(f"{path}: changed while it was read; submit it again when it is complete")
    return {
        "shard_path": str(path.absolute()),
        "shard_size": before.st_size,
        "shard_mtime_ns": before.st_mtime_ns,
        "shard_sha256": sha256,
    }


def _made_sound(shard: Shard, x: torch.Tensor, start: int, counts: Bool) -> tuple[torch.Tensor, I64]:
    """Return the rows, those with NaN or infinity as zeros if they do not count, and the numbers of these.

    Raises: ShardError if a row that counts holds NaN or infinity.
    """
    unsound = unsound_rows(x).numpy()
    if not len(unsound):
        return x, unsound
    bad = start + unsound[counts[unsound]]
    if len(bad):
        raise ShardError(
            f"{shard.path}: row {int(bad[0]):,} holds NaN or infinity ({len(bad):,} of the rows {start:,} to"
            f" {start + len(x) - 1:,} do); nothing of this shard is written. Only rows that do not count may, such as"
            f" those of an attention_mask or of --exclude-first"
        )
    x = x.clone()
    x[torch.from_numpy(unsound)] = 0
    return x, unsound


def _of_unsound(n_rows: int) -> list[str]:
    if not n_rows:
        return []
    do = "row that does not count holds" if n_rows == 1 else "rows that do not count hold"
    return [f"{n_rows:,} {do} NaN or infinity: stored without features"]
