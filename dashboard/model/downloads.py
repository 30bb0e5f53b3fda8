"""How far a download of labels is. Its store may be written to while it is counted."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from dashboard.model.cache import PATIENCE, Cache
from saefetch.inventory import Progress, progress
from saefetch.store.store import Store


@dataclass(frozen=True, slots=True)
class Counted:
    """How far a download is; `n_described` features have a label."""

    progress: Progress
    n_described: int


def count(store: Store, folder: Path, kept: Cache) -> Counted:
    """Return how far the download into `folder` is, or was a little while ago."""

    def find() -> Counted:
        found = progress(folder)
        return Counted(found, len(store.described(0, found.total_features)))

    version = version_of(store), store.meta("num_features"), store.meta("export_open")
    return kept.get(("download", folder), find, version, patience=PATIENCE)


def version_of(store: Store) -> tuple[int, ...]:
    """Return numbers that change with every write to the store, and if another store takes its place."""
    try:
        return store.path.stat().st_ino, store.generation
    except FileNotFoundError:  # it was removed after it was opened
        return 0, store.generation


def is_running(folder: Path) -> bool:
    """Say whether a download holds the folder's lock: without a try to take it, which could get in its way."""
    try:
        pid = int((folder / ".lock").read_text()[:32])
    except (OSError, ValueError):
        return False
    try:
        os.kill(max(1, pid), 0)
    except (OSError, OverflowError) as exc:
        return isinstance(exc, PermissionError) and pid > 0  # the process is another user's
    return pid > 0
