"""`/api/health`: shards, downloads and the queue, as they are at this moment. The page asks every two seconds.

What a shard's headers do not say is counted once and kept. A request counts for about BUDGET_S; what it has not counted
by then is null in its answer, and a later request finds it.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from dashboard.model.cache import PATIENCE
from dashboard.model.corpus import Corpus
from dashboard.model.downloads import count, is_running
from dashboard.model.look import Look
from dashboard.model.shards import L0, dead_of, l0_of
from dashboard.views.excluded import excluded_rows
from dashboard.views.parameters import Parameters
from dashboard.views.shapes.state import Download, Health, QueueHealth, ShardHealth
from encoder.queue.queue import Queue, Status
from saefetch.errors import SaefetchError, StoreError
from saefetch.inventory import folders
from saefetch.store.store import Store

PARAMETERS = ("offset", "limit")
MOST_SHARDS = 1000
BUDGET_S = 0.1
COUNTED_NNZ = 1 << 25
"""The dead features of a shard with more stored values are not counted: the index knows those of the whole folder."""
STATES: dict[str, Literal["complete", "unreadable"]] = {"complete": "complete", "unreadable": "unreadable"}
T = TypeVar("T")


def health(look: Look, parameters: Parameters) -> Health:
    offset, limit = parameters.number("offset"), parameters.number("limit", 100, MOST_SHARDS)
    numbers = [] if look.corpus is None else look.corpus.shards
    queue = _queue_of(look)
    return {
        "total": len(numbers),
        "shards": list(shards(look.corpus, numbers[offset : offset + limit], BUDGET_S)) if look.corpus else [],
        "dead_features": dead_features(look.corpus),
        "downloads": [_download(look, folder) for folder in folders(look.settings.data_dir)],
        "queue": None
        if queue is None
        else look.kept.get(("queue", queue), partial(_queue, queue), time.monotonic(), patience=PATIENCE),
    }


def dead_features(corpus: Corpus | None) -> int | None:
    """Return how many features fire nowhere in the folder; None where only a walk over everything could tell."""
    if corpus is None or corpus.index is None or corpus.index_state != "ready":
        return None
    index = corpus.index
    return corpus.kept.get("dead", lambda: int((index.count == 0).sum()))


def shards(corpus: Corpus, numbers: Sequence[int], budget_s: float) -> Iterator[ShardHealth]:
    """Describe shards; what is not counted within `budget_s` is None."""
    deadline = time.monotonic() + budget_s

    def count(shard: int, what: str, find: Callable[[], T]) -> T | None:
        has_time = time.monotonic() < deadline
        return corpus.of_shard(shard, what, find) if has_time else corpus.known_of_shard(shard, what)

    features = corpus.features
    for i in numbers:
        l0 = count(i, "l0", partial(l0_of, features, i))
        is_small = features.files[i].nnz <= COUNTED_NNZ
        yield _shard(corpus, i, l0, count(i, "dead", partial(dead_of, features, i)) if is_small else None)


def _shard(corpus: Corpus, i: int, l0: L0 | None, n_dead: int | None) -> ShardHealth:
    file = corpus.features.files[i]
    meta, rows = file.meta, file.shape[0]
    excluded = corpus.excluded_in_shard(i)
    quality = meta.get("quality") if isinstance(meta.get("quality"), dict) else {}
    notes = meta.get("notes")
    release = meta.get("sae_release")
    return {
        "name": corpus.name(i),
        "rows": rows,
        "excluded": excluded_rows(excluded),
        "nnz": file.nnz,
        "mean_l0": (file.nnz - excluded.nnz) / max(1, rows - excluded.n_rows),
        "max_l0": None if l0 is None else l0.largest,
        "l0_histogram": None if l0 is None else {"edges": l0.edges, "counts": l0.counts},
        "explained_variance": _number(quality, "explained_variance"),
        "explained_variance_of_all": _number(quality, "explained_variance_of_all"),
        "cosine": _number(quality, "cosine"),
        "dead_features": n_dead,
        "warnings": [str(meta["warning"])] if meta.get("warning") else [],
        "notes": [str(note) for note in notes] if isinstance(notes, list) else [],
        "sae": f"{release} {meta.get('sae_id')}" if release else str(meta.get("sae_path") or ""),
        "dtype_read": str(meta.get("dtype_read") or ""),
        "values": file.members["data"].dtype.name,
    }


def _number(quality: Any, name: str) -> float | None:
    value = quality.get(name)
    return float(value) if isinstance(value, int | float) else None


def _download(look: Look, folder: Path) -> Download:
    """Say how far a download is; a store that cannot be read says so in `error`."""
    command = ["saefetch", "download", "--data-dir", str(look.settings.data_dir)]
    try:
        with closing(Store.open_read_only(folder)) as store:
            progress = count(store, folder, look.kept).progress
    except StoreError as exc:
        return {
            "release": folder.parent.name,
            "id": folder.name,
            "neuronpedia_id": "",
            "total": 0,
            "successful": 0,
            "missing": 0,
            "failed": 0,
            "remaining": 0,
            "state": "unreadable",
            "error": str(exc),
            "command": shlex.join(command),
        }
    return {
        "release": progress.sae_release,
        "id": progress.sae_id,
        "neuronpedia_id": progress.neuronpedia_id,
        "total": progress.total_features,
        "successful": progress.successful,
        "missing": progress.missing,
        "failed": progress.failed,
        "remaining": progress.remaining,
        "state": "running" if is_running(folder) else STATES.get(progress.state, "partial"),
        "error": None,
        "command": shlex.join([*command, *progress.flags]),
    }


def _queue_of(look: Look) -> Path | None:
    """Return the queue that was named, else the one that `sae-encode run` works on, else the one whose output it is."""
    if look.settings.queue is not None:
        return look.settings.queue
    folder = look.settings.features
    candidates = (folder / ".queue", folder.absolute().parent)
    return next((path for path in candidates if (path / "ready").is_dir() and (path / "claimed").is_dir()), None)


def _queue(folder: Path) -> QueueHealth:
    status, problem = Status([], [], [], {}, []), None
    try:
        # With a clock of its own it does not touch the folder to learn the file system's time.
        status = Queue(folder, now=time.time).status()
    except (SaefetchError, OSError) as exc:
        problem = str(exc)
    verb = "retry" if status.failed and status.is_finished else "work"
    return {
        "folder": str(folder),
        "ready": len(status.ready),
        "claimed": [
            {"job": claim.job, "worker": claim.worker, "attempt": claim.attempt, "age_s": round(claim.age_s, 1)}
            for claim in status.claimed
        ],
        "done": len(status.done),
        "failed": [{"job": job, "error": (error.splitlines() or [""])[0]} for job, error in status.failed.items()],
        "error": problem,
        "command": shlex.join(["sae-encode", verb, "--queue", str(folder)]),
    }
