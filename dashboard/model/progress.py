"""What is dear to find out and changes while it is looked at: looked up again only now and then.

Counting what a store holds looks at every feature: some milliseconds for 16,384 of them, a second for a million. A
store that is being written changes several times a second, and the page asks every two. So a new count waits until
`PATIENCE` times as long as the last one took have gone by.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from saefetch.inventory import Progress, progress
from saefetch.store.store import Store

PATIENCE = 10
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Counted:
    """How far a download is; `n_described` features have a label."""

    progress: Progress
    n_described: int


class Patient:
    """What was found out, by key. Safe for several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[Hashable, tuple[Hashable, float, Any]] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, find: Callable[[], T], version: Hashable) -> T:
        """Return what `find` finds out, or what it found a little while ago, for the same version at any time."""
        with self._lock:
            known = self._known.get(key)
            if known is None or (known[0] != version and self._clock() > known[1]):
                began = self._clock()
                found = find()
                ended = self._clock()
                known = self._known[key] = version, ended + PATIENCE * (ended - began), found
            kept: T = known[2]
            return kept


def count(store: Store, folder: Path, patient: Patient) -> Counted:
    """Return how far the download into `folder` is, or was a little while ago."""

    def find() -> Counted:
        found = progress(folder)
        return Counted(found, len(store.described(0, found.total_features)))

    version = version_of(store), store.meta("num_features"), store.meta("export_open")
    return patient.get(("download", folder), find, version)


def version_of(store: Store) -> tuple[int, ...]:
    """Return what changes with every write to the store, and if another takes its place."""
    try:
        return store.path.stat().st_ino, store.generation
    except FileNotFoundError:  # it was removed after it was opened
        return 0, store.generation
