"""One shard: read -> check -> copy -> kernel -> write, a batch at a time, all at the same time, for one SAE or many.

    reader thread    rows [start, stop) of the next batch, checked for NaN and infinity, on their way to the device
    this thread      the kernel of each SAE that takes this batch
    writer thread    CSR of the batch before

One stream is read after the other, as the tensors of a file lie one after the other. Where the layers lie row by row
beside each other, all streams go side by side: the first batch of each, then the second of each. So each byte comes
from the disk once, also of a file that is larger than memory. Memory is bounded by a few batches and the SAEs. The
shard is hashed meanwhile, in a thread of its own.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

import saefetch
from encoder.arrays import F64, I64, Bool
from encoder.errors import ChangingError, ShardError
from encoder.file.csr import Csr
from encoder.rows import Exclude
from encoder.sae.sae import LoadedSae
from encoder.shard import Shard
from encoder.stores.fetched import keep_local
from encoder.stores.object_path import ObjectPath
from encoder.stores.same import identity_of, sha256_of
from encoder.work.counting import Counted
from encoder.work.progress import Progress
from encoder.work.sound import unsound_rows
from encoder.work.stream import Encoded, Stream, Task
from saefetch.files.digest import Status, Stopped

Place = tuple[Stream, int]
"""Rows to be read: of which stream, and the first of them."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of a stream: `x` [T, D] as they were read, `counts` bool [T], and what encodes them for each task.

    `unsound` are rows that do not count and hold NaN or infinity. They are zeros in `x`, and have no features.
    """

    x: torch.Tensor
    counts: Bool
    unsound: I64
    encoders: list[tuple[Task, Callable[[], Csr]]]

    def features(self, encode: Callable[[], Csr]) -> Csr:
        found = encode()
        return found.emptied(self.unsound) if len(self.unsound) else found


def encode_shard(
    streams: Sequence[Stream],
    *,
    batch_tokens: int,
    settings: dict[str, Any],
    status: Status,
    stopping: Callable[[], bool],
    watch: Callable[[Progress], None],
) -> None:
    """Encode all rows and finish each task's file under its temporary name; after each batch ask `stopping`, tell
    `watch`.

    `streams` are of one file. `settings` are members of `meta`; `exclude` among them says which rows do not count, and
    a norm in it costs a second reading of the shard. `status` is the data file's from before it was opened: it must be
    the same file at the end. What is wrong with a stream or a task becomes the task's `error`.
    Raises: ChangingError if the file was written to meanwhile; Stopped.
    """
    progress = Progress(sum(stream.shard.n_rows * len(stream.tasks) for stream in streams))
    exclude = Exclude.of_document(settings.get("exclude"))
    path, ended, all_read = streams[0].shard.path, threading.Event(), threading.Event()
    is_object = isinstance(
        path, ObjectPath
    )  # its hash follows the reading, so no stream is finished before all are read

    if isinstance(path, ObjectPath) and len(streams) > 1 and all(stream.shard.is_interleaved for stream in streams):
        keep_local(path)  # each batch of each stream takes a little of the same blocks

    def read(stream: Stream, start: int) -> torch.Tensor:
        with progress.timed("read"):
            return stream.shard.read(start, min(start + batch_tokens, stream.shard.n_rows))

    def stage(place: Place) -> Batch:
        stream, start = place
        x = read(stream, start)
        counts = stream.counted.counts(start, start + len(x))
        with progress.timed("read"):
            x, unsound = _made_sound(stream.shard, x, start, counts)
        with progress.timed("copy"):
            return Batch(x, counts, unsound, [(task, task.kernel.stage(x)) for task in stream.live])

    def count(stream: Stream) -> Counted:
        starts = range(0, stream.shard.n_rows, batch_tokens)
        norms = partial(_norms, partial(read, stream), starts, stopping)
        return Counted.of(stream.shard.tokens(), stream.shard, exclude, norms)

    def look(stream: Stream, x: torch.Tensor, counts: Bool) -> None:
        with progress.timed("write"):
            stream.oddities.add(x, counts)

    def write(task: Task, features: Csr) -> None:
        with progress.timed("write"):
            task.writer.append(features)

    def finish(stream: Stream, task: Task) -> None:
        identity = identity_of(path, status, sha256.result())
        with progress.timed("write"):
            _finish(stream, task, settings | identity)

    with (
        ThreadPoolExecutor(1, "read") as reading,
        ThreadPoolExecutor(1, "write") as writing,
        ThreadPoolExecutor(1, "hash") as hashing,
        _set_at_the_end(ended),  # when a batch fails or the worker stops, nobody waits for the hash
    ):
        sha256 = hashing.submit(sha256_of, path, ended.is_set, all_read.is_set)
        for before, stream in zip([None, *streams], streams, strict=False):
            with _failing(stream.tasks):
                counted = reading.submit(count, stream).result()
                stream.counted = counted if before is None or not before.live else counted.sharing(before.counted)
        looked: Future[None] | None = None
        for (stream, start), staged in _ahead(reading, stage, _places(streams, batch_tokens)):
            with _failing(stream.tasks):
                batch = staged.result()
                stream.n_unsound += len(batch.unsound)
                _wait_for(looked)
                looked = writing.submit(look, stream, batch.x, batch.counts)
                is_last = start + len(batch.x) == stream.shard.n_rows and not is_object
                for task, encode in batch.encoders:
                    with _failing([task]):
                        with progress.timed("kernel"):
                            features = batch.features(encode)
                        task.add(batch.x, features, batch.counts)
                        _wait_for(task.written)
                        task.written = writing.submit(write, task, features)
                        progress.add(features, batch.counts)
                        if is_last:
                            _wait_for(task.written)
                            task.written = writing.submit(finish, stream, task)
                watch(progress)
            if stopping():
                raise Stopped
        all_read.set()
        _wait_for(looked)
        for stream in streams:
            for task in stream.live:
                with _failing([task]):
                    _wait_for(task.written)
                    if stream.shard.n_rows == 0 or is_object:
                        finish(stream, task)


def _places(streams: Sequence[Stream], batch_tokens: int) -> Iterator[Place]:
    """Yield the batches of one stream after the other, or of all side by side; none of a stream that was given up."""
    is_interleaved = all(stream.shard.is_interleaved for stream in streams)
    for group in [streams] if is_interleaved else [[stream] for stream in streams]:
        for start in range(0, max(stream.shard.n_rows for stream in group), batch_tokens):
            yield from ((stream, start) for stream in group if start < stream.shard.n_rows and stream.live)


def _ahead(
    reading: ThreadPoolExecutor, stage: Callable[[Place], Batch], places: Iterator[Place]
) -> Iterator[tuple[Place, Future[Batch]]]:
    """Yield each batch with its place, while the next batch is read."""
    ahead: deque[tuple[Place, Future[Batch]]] = deque()
    for place in places:
        ahead.append((place, reading.submit(stage, place)))
        if len(ahead) > 1:
            yield ahead.popleft()
    yield from ahead


@contextmanager
def _failing(tasks: Sequence[Task]) -> Iterator[None]:
    """Make what is wrong with a shard the error of these tasks. A file that changes is wrong for all tasks."""
    try:
        yield
    except ChangingError:
        raise
    except ShardError as exc:
        for task in tasks:
            task.error = task.error or exc


def _wait_for(written: Future[None] | None) -> None:
    if written is not None:
        written.result()


def _norms(read: Callable[[int], torch.Tensor], starts: range, stopping: Callable[[], bool]) -> F64:
    """Return the norm of every row, in a pass of its own over the rows, also of rows that hold NaN or infinity.

    Raises: ShardError, Stopped.
    """
    found = [np.zeros(0)]
    for start in starts:
        found.append(torch.linalg.vector_norm(read(start), dim=1, dtype=torch.float64).numpy())
        if stopping():
            raise Stopped
    return np.concatenate(found)


def _finish(stream: Stream, task: Task, settings: dict[str, Any]) -> None:
    """Complete the task's file, and say how it went."""
    shard, quality = stream.shard, task.sample.score()
    odd = [*_of_unsound(stream.n_unsound), *stream.remarks]
    remarks = (*task.notes, *stream.counted.notes, *odd, *filter(None, [quality.remark()]))
    excluded = stream.counted.excluded
    task.encoded = Encoded(shard.n_rows, task.writer.nnz, excluded, task.nnz_counted, quality, remarks)
    task.writer.finish(_meta(shard, task.sae, settings, task.encoded), stream.counted.tokens)


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
