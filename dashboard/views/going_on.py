"""What goes on at this moment: downloads of labels and the queue, how fast, and the command that goes on with them.

No command is offered that is running already.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Literal

from dashboard.model.cache import PATIENCE
from dashboard.model.downloads import count, is_running
from dashboard.model.look import Look, Settings
from dashboard.model.pace import Going, Pace, going_of
from dashboard.model.places import shown
from dashboard.views.shapes.state import Download, QueueHealth
from encoder.queue.queue import Queue, Status
from saefetch.errors import SaefetchError, StoreError
from saefetch.inventory import folders
from saefetch.store.store import Store

STATES: Mapping[str, Literal["complete", "unreadable"]] = {"complete": "complete", "unreadable": "unreadable"}
PACED_JOBS, LEASED_S = 30, 120.0
"""The pace of a queue is that of its last PACED_JOBS; a claim that was renewed within LEASED_S has a worker."""


def downloads(look: Look) -> list[Download]:
    return [_download(look, folder) for folder in folders(look.settings.data_dir)]


def _download(look: Look, folder: Path) -> Download:
    """Say how far a download is; a store that cannot be read says so in `error`."""
    command = ["saefetch", "download", "--data-dir", shown(look.settings.data_dir, "DATA_DIR")]
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
            "error": look.settings.places.hide(str(exc)),
            "command": shlex.join(command),
            "per_s": None,
            "left_s": None,
        }
    runs, going = is_running(folder), Going()
    if runs:
        pace = look.kept.get(("pace", folder), Pace)
        going = pace.going(progress.total_features - progress.remaining, progress.remaining)
    return {
        "release": progress.sae_release,
        "id": progress.sae_id,
        "neuronpedia_id": progress.neuronpedia_id,
        "total": progress.total_features,
        "successful": progress.successful,
        "missing": progress.missing,
        "failed": progress.failed,
        "remaining": progress.remaining,
        "state": "running" if runs else STATES.get(progress.state, "partial"),
        "error": None,
        "command": shlex.join([*command, *progress.flags]),
        "per_s": going.per_s,
        "left_s": going.left_s,
    }


def queue(look: Look) -> QueueHealth | None:
    """Describe the queue, as it is or was a little while ago; None where there is none and none was named."""
    found = _queue_of(look.settings)
    if found is None:
        return None
    folder, word = found
    make = partial(_queue, look.settings, folder, word)
    return look.kept.get(("queue", folder), make, time.monotonic(), patience=PATIENCE)


def is_worked_on(look: Look) -> bool:
    """Say whether the queue has a worker at this moment."""
    described = queue(look)
    return described is not None and any(claim["age_s"] < LEASED_S for claim in described["claimed"])


def _queue_of(settings: Settings) -> tuple[Path, str] | None:
    """Return the queue that was named, else the one that `sae-encode run` works on, else the one whose output it is.

    And how it is shown.
    """
    if settings.queue is not None:
        return settings.queue, shown(settings.queue, "QUEUE")
    folder, above = settings.features, settings.features.absolute().parent
    candidates = [
        (folder / ".queue", f"{shown(folder, 'FEATURES')}/.queue"),
        (above, "QUEUE" if folder.is_absolute() else str(folder.parent)),
    ]
    return next((one for one in candidates if _is_queue(one[0])), None)


def _is_queue(path: Path) -> bool:
    return (path / "ready").is_dir() and (path / "claimed").is_dir()


def _queue(settings: Settings, folder: Path, word: str) -> QueueHealth:
    status, problem = Status([], [], [], {}, []), None
    try:
        if folder.exists():
            # With a clock of its own it does not touch the folder to learn the file system's time.
            status = Queue(folder, now=time.time).status()
    except (SaefetchError, OSError) as exc:
        problem = settings.places.hide(str(exc))
    going, command = Going(), None
    if not folder.exists():
        command = ["sae-encode", "submit", "ACTIVATIONS", "--queue", word]
    elif any(claim.age_s < LEASED_S for claim in status.claimed):
        going = going_of(_ended(folder), time.time(), len(status.ready) + len(status.claimed))
    elif not status.is_finished:
        command = ["sae-encode", "work", "--queue", word]
    elif status.failed:
        command = ["sae-encode", "retry", "--queue", word]
    return {
        "folder": word,
        "is_there": folder.exists(),
        "ready": len(status.ready),
        "claimed": [
            {"job": claim.job, "worker": claim.worker, "attempt": claim.attempt, "age_s": round(claim.age_s, 1)}
            for claim in status.claimed
        ],
        "done": len(status.done),
        "failed": [
            {"job": job, "error": settings.places.hide((error.splitlines() or [""])[0])}
            for job, error in status.failed.items()
        ],
        "error": problem,
        "command": None if command is None else shlex.join(command),
        "per_s": going.per_s,
        "left_s": going.left_s,
    }


def _ended(folder: Path) -> list[float]:
    """Return when the last jobs were done, rising."""
    times = []
    for path in (folder / "done").iterdir():
        with suppress(OSError):  # it goes back to ready at this very moment
            times.append(path.stat().st_mtime)
    return sorted(times)[-PACED_JOBS:]
