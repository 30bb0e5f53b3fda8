"""How far a download is, counted again only when the store has changed, and then not all the time.

Counting looks at every feature: some milliseconds for 16,384 of them, a second for a million. A store that is being
written changes several times a second, so the next count waits until `PATIENCE` times the last one's length is over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

from saefetch.inventory import Progress, progress
from saefetch.store import Store

PATIENCE = 10


@dataclass(frozen=True, slots=True)
class Counted:
    """`n_described` features have a label."""

    generation: Hashable
    progress: Progress
    n_described: int
    until: float


class Counts:
    """The counts of each folder. Safe for several threads."""

    def __init__(self) -> None:
        self._counted: dict[Path, Counted] = {}
        self._lock = threading.Lock()

    def of(self, store: Store, folder: Path) -> Counted:
        """Return how far the download into `folder` is, or was a little while ago."""
        generation = store.generation, store.meta("num_features"), store.meta("export_open")
        with self._lock:
            counted = self._counted.get(folder)
            if counted is None or (counted.generation != generation and time.monotonic() > counted.until):
                began = time.monotonic()
                found = progress(folder)
                n_described = len(store.described(0, found.total_features))
                ended = time.monotonic()
                counted = Counted(generation, found, n_described, ended + PATIENCE * (ended - began))
                self._counted[folder] = counted
            return counted
