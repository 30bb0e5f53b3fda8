"""`/api/health`: shards, downloads and the queue, as they are at this moment. Asked for every two seconds.

What a shard's headers do not say is counted once and kept; a request counts for about BUDGET_S and answers null for
what is left, which a later one finds.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from dashboard.model.cache import PATIENCE
from dashboard.model.corpus import Corpus
from dashboard.model.data import Look
from dashboard.model.downloads import count, is_running
from dashboard.model.shards import L0, dead_of, l0_of
from dashboard.views.parameters import Parameters
from encoder.queue.queue import Queue, Status
from saefetch.errors import SaefetchError, StoreError
from saefetch.inventory import folders
from saefetch.store.store import Store

PARAMETERS = ("offset", "limit")
MOST_SHARDS = 1000
BUDGET_S = 0.1
COUNTED_NNZ = 1 << 25
"""The dead features of a shard with more stored values are not counted: the index knows those of the whole folder."""
T = TypeVar("T")


def health(look: Look, asked: Parameters) -> dict[str, Any]:
    offset, limit = asked.number("offset"), asked.number("limit", 100, MOST_SHARDS)
    corpus, queue = look.corpus, _queue_of(look)
    n_shards = 0 if corpus is None else corpus.features.n_shards
    return {
        "total": n_shards,
        "shards": [] if corpus is None else list(shards(corpus, range(n_shards)[offset : offset + limit], BUDGET_S)),
        "dead_features": dead_features(corpus),
        "downloads": [_download(look, folder) for folder in folders(look.settings.data_dir)],
        "queue": None
        if queue is None
        else look.kept.get(("queue", queue), partial(_queue, queue), time.monotonic(), patience=PATIENCE),
    }


def dead_features(corpus: Corpus | None) -> int | None:
    """Return how many features fire nowhere in the folder; None where only a walk over everything could tell."""
    if corpus is None or corpus.index is None:
        return None
    index = corpus.index
    return corpus.kept.get("dead", lambda: int((index.count == 0).sum()))


def shards(corpus: Corpus, numbers: Sequence[int], budget_s: float) -> Iterator[dict[str, Any]]:
    """Describe shards; what is not found out within `budget_s` is None."""
    deadline = time.monotonic() + budget_s

    def count(shard: int, what: str, find: Callable[[], T]) -> T | None:
        has_time = time.monotonic() < deadline
        return corpus.of_shard(shard, what, find) if has_time else corpus.known_of_shard(shard, what)

    features = corpus.features
    for i in numbers:
        l0 = count(i, "l0", partial(l0_of, features, i))
        is_small = features.files[i].nnz <= COUNTED_NNZ
        yield _shard(corpus, i, l0, count(i, "dead", partial(dead_of, features, i)) if is_small else None)


def _shard(corpus: Corpus, i: int, l0: L0 | None, n_dead: int | None) -> dict[str, Any]:
    file = corpus.features.files[i]
    meta, rows = file.meta, file.shape[0]
    quality = meta.get("quality") if isinstance(meta.get("quality"), dict) else {}
    notes = meta.get("notes")
    release = meta.get("sae_release")
    return {
        "name": corpus.name(i),
        "rows": rows,
        "nnz": file.nnz,
        "mean_l0": file.nnz / max(1, rows),
        "max_l0": None if l0 is None else l0.largest,
        "l0_histogram": None if l0 is None else {"edges": l0.edges, "counts": l0.counts},
        "explained_variance": _number(quality, "explained_variance"),
        "cosine": _number(quality, "cosine"),
        "dead_features": n_dead,
        "warnings": [str(meta["warning"])] if meta.get("warning") else [],
        "notes": [str(note) for note in notes] if isinstance(notes, list) else [],
        "sae": f"{release} {meta.get('sae_id')}" if release else str(meta.get("sae_path") or ""),
        "dtype_read": str(meta.get("dtype_read") or ""),
        "values": file.members["data"].dtype.name,
        "shard_path": str(meta.get("shard_path") or ""),
    }


def _number(quality: Any, name: str) -> float | None:
    value = quality.get(name)
    return float(value) if isinstance(value, int | float) else None


def _download(look: Look, folder: Path) -> dict[str, Any]:
    """Say how far a download is; a store that cannot be read says so in `error`."""
    answer: dict[str, Any] = {"release": folder.parent.name, "id": folder.name, "neuronpedia_id": "", "total": 0}
    answer |= {"successful": 0, "missing": 0, "failed": 0, "remaining": 0, "state": "unreadable", "error": None}
    command = ["saefetch", "download", "--data-dir", str(look.settings.data_dir)]
    try:
        with closing(Store.open_read_only(folder)) as store:
            progress = count(store, folder, look.kept).progress
    except StoreError as exc:
        return answer | {"error": str(exc), "command": shlex.join(command)}
    states = {"complete": "complete", "unreadable": "unreadable"}
    state = "running" if is_running(folder) else states.get(progress.state, "partial")
    return answer | {
        "release": progress.sae_release,
        "id": progress.sae_id,
        "neuronpedia_id": progress.neuronpedia_id,
        "total": progress.total_features,
        "successful": progress.successful,
        "missing": progress.missing,
        "failed": progress.failed,
        "remaining": progress.remaining,
        "state": state,
        "next_step": progress.next_step,
        "command": shlex.join([*command, *progress.flags]),
    }


def _queue_of(look: Look) -> Path | None:
    """Return the queue that was named, else the one that `sae-encode run` works on, else the one whose output it is."""
    if look.settings.queue is not None:
        return look.settings.queue
    folder = look.settings.features
    candidates = (folder / ".queue", folder.absolute().parent)
    return next((path for path in candidates if (path / "ready").is_dir() and (path / "claimed").is_dir()), None)


def _queue(folder: Path) -> dict[str, Any]:
    answer: dict[str, Any] = {"folder": str(folder), "ready": 0, "claimed": [], "done": 0, "failed": [], "error": None}
    command = shlex.join(["sae-encode", "work", "--queue", str(folder)])
    try:
        # With a clock of its own it does not touch the folder to learn the file system's time.
        status: Status = Queue(folder, now=time.time).status()
    except (SaefetchError, OSError) as exc:
        return answer | {"error": str(exc), "command": command}
    if status.failed and status.is_finished:
        command = shlex.join(["sae-encode", "retry", "--queue", str(folder)])
    return answer | {
        "ready": len(status.ready),
        "claimed": [
            {"job": held.job, "worker": held.worker, "attempt": held.attempt, "age_s": round(held.age_s, 1)}
            for held in status.claimed
        ],
        "done": len(status.done),
        "failed": [{"job": job, "error": (error.splitlines() or [""])[0]} for job, error in status.failed.items()],
        "command": command,
    }
