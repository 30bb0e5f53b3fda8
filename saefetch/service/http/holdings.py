"""What the data dir holds. An SAE is counted anew when its store has changed, by size and time of its files."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

from saefetch.errors import StoreError
from saefetch.inventory import folders, progress
from saefetch.service.http.shapes import HeldSae
from saefetch.store.records import HERE
from saefetch.store.store import FILE_NAME, Store

_State = tuple[tuple[int, int, int] | None, ...]


class Holdings:
    """The SAEs under a data dir."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._counted: dict[Path, tuple[_State, HeldSae]] = {}
        self._one_at_a_time = threading.Lock()

    def look(self) -> list[HeldSae]:
        """Return the SAEs in the order of their folders."""
        with self._one_at_a_time:
            before, self._counted = self._counted, {}
            for folder in folders(self._data_dir):
                state = _state_of(folder / FILE_NAME)
                known = before.get(folder)
                self._counted[folder] = known if known and known[0] == state else (state, _count(folder))
            return [sae for _, sae in self._counted.values()]


def _state_of(path: Path) -> _State:
    """Say what changes with each commit: of the store, and of its write-ahead log."""
    found: list[tuple[int, int, int] | None] = []
    for file in (path, path.with_name(f"{path.name}-wal")):
        try:
            stat = file.stat()
        except OSError:
            found.append(None)
        else:
            found.append((stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return tuple(found)


def _count(folder: Path) -> HeldSae:
    """Count one SAE. A store that cannot be read, as it is damaged or just being made, counts as holding nothing."""
    found = progress(folder)
    downloaded_at, n_described = None, 0
    try:
        with closing(Store.open_read_only(folder)) as store:
            states = store.states(found.total_features)
            described = store.described(0, found.total_features)
            n_described = sum(states[index] in HERE for index in described)
            downloaded_at = store.meta("downloaded_at")
    except StoreError:
        pass
    return {
        "sae_release": found.sae_release,
        "sae_id": found.sae_id,
        "neuronpedia_id": found.neuronpedia_id,
        "num_features": found.total_features,
        "successful": found.successful,
        "missing": found.missing,
        "failed": found.failed,
        "with_descriptions": n_described,
        "downloaded_at": downloaded_at,
        "state": "complete" if found.state == "complete" else "partial",
    }
