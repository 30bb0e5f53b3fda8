"""`<queue>/inbox/`: a folder to drop shards into, files or whole folders of them. They are never moved or changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

Signature = tuple[tuple[str, int, int], ...]


class Inbox:
    """Finds the entries of a folder that have come to rest. Copying tools write to names with a dot in front: these are
    left alone.

    An entry is at rest when no size and no mtime in it has changed for `stable_s` while this process watched. So the
    first look takes nothing, and a copy that keeps old mtimes is not taken early.
    """

    def __init__(self, folder: Path, stable_s: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._stable_s = stable_s
        self._monotonic = monotonic
        self._seen: dict[str, tuple[Signature, float]] = {}
        self._taken: dict[str, Signature] = {}

    def take(self) -> list[Path]:
        """Return the entries that have come to rest since the last call, sorted; an entry that changes comes again."""
        now = self._monotonic()
        current = {path.name: _sign(path) for path in sorted(self._folder.iterdir()) if path.name[0] != "."}
        for name, signature in current.items():
            if name not in self._seen or self._seen[name][0] != signature:
                self._seen[name] = (signature, now)
        self._seen = {name: self._seen[name] for name in current}
        at_rest = [
            name
            for name, (signature, since) in self._seen.items()
            if signature and now - since >= self._stable_s and self._taken.get(name) != signature
        ]
        self._taken |= {name: current[name] for name in at_rest}
        return [self._folder / name for name in at_rest]


def _sign(path: Path) -> Signature:
    """Return relative path, size and mtime in ns of each file below; nothing where there are no files."""
    return tuple(sorted(_files(path, "")))


def _files(path: Path, relative: str) -> Iterator[tuple[str, int, int]]:
    try:
        if path.is_dir():
            for below in path.iterdir():
                yield from _files(below, f"{relative}/{below.name}")
        else:
            status = path.stat()
            yield relative, status.st_size, status.st_mtime_ns
    except FileNotFoundError:
        return
