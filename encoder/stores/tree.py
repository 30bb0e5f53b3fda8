"""The objects of a bucket as a tree of folders. What was listed, or asked for, is known from then on.

A folder is listed when somebody looks into it. A tree is for one piece of work: it does not notice what comes later,
and each object that is read has to stay as it was when the tree saw it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from encoder.stores.ranges import BLOCK_BYTES, Ranges
from encoder.stores.store import Entry, Store

MAX_REQUESTS = 16
"""Requests at a time."""
SMALL_BLOCK_BYTES, SMALL_WINDOW = 1 << 20, 2
MAX_OPEN = 8
"""Objects of which bytes are held."""
_Made = TypeVar("_Made")


class Tree:
    """`store` is that of the whole bucket, so keys are those of the bucket. Safe for threads."""

    def __init__(self, store: Store, block_bytes: int = BLOCK_BYTES) -> None:
        self.store, self._block_bytes = store, block_bytes
        self.pool = ThreadPoolExecutor(MAX_REQUESTS, "store")
        self._folders: dict[str, dict[str, Entry | None]] = {}  # of each name in a folder the object; None for a folder
        self._known: dict[str, Entry | None] = {}
        self._ranges: OrderedDict[tuple[str, str], Ranges] = OrderedDict()
        self._made: dict[tuple[str, str, str], Any] = {}
        self._lock = threading.RLock()

    def folder(self, key: str) -> dict[str, Entry | None]:
        """Return what is in a folder, by name."""
        with self._lock:
            if key not in self._folders:
                folders, entries = self.store.folder(key)
                found: dict[str, Entry | None] = dict.fromkeys(folders)
                # An object that was asked for before stays the version that it was: who reads it must not get another.
                found |= {entry.key.rpartition("/")[2]: self._known.get(entry.key) or entry for entry in entries}
                self._folders[key] = {name: one for name, one in found.items() if name}
            return self._folders[key]

    def entry(self, key: str) -> Entry | None:
        """Return the object at a key; None if there is none."""
        parent, _, name = key.rpartition("/")
        with self._lock:
            if parent in self._folders:
                return self._folders[parent].get(name)
            if key not in self._known:
                try:
                    self._known[key] = self.store.status(key) if key else None
                except FileNotFoundError:
                    self._known[key] = None
            return self._known[key]

    def is_folder(self, key: str) -> bool:
        """Say whether there is anything below a key."""
        parent, _, name = key.rpartition("/")
        with self._lock:
            if key and parent in self._folders:
                return name in self._folders[parent] and self._folders[parent][name] is None
        return bool(self.folder(key))

    def renew(self, key: str) -> Entry | None:
        """Ask what the object is now. What lies beside it is listed anew where it is not as it was listed."""
        try:
            entry = self.store.status(key)
        except FileNotFoundError:
            entry = None
        parent, _, name = key.rpartition("/")
        with self._lock:
            if parent in self._folders and self._folders[parent].get(name) != entry:
                del self._folders[parent]
            self._known[key] = entry
        return entry

    def forget(self) -> None:
        """Forget what was listed and asked for."""
        with self._lock:
            self._folders.clear()
            self._known.clear()

    def read_range(self, entry: Entry, start: int, stop: int) -> bytes:
        """Read bytes of an object, as long as it is the same one. Raises: ChangingError."""
        return self.store.read(entry.key, start, stop, etag=entry.etag)

    def small_ranges(self, entry: Entry) -> Ranges:
        """Return the bytes of an object for looks at many places, with smaller blocks; whoever asks holds them."""
        return Ranges(partial(self.read_range, entry), entry.size, self.pool, SMALL_BLOCK_BYTES, SMALL_WINDOW)

    def ranges(self, entry: Entry) -> Ranges:
        """Return the bytes of an object; those of the last few objects are held."""
        at = entry.key, entry.etag
        with self._lock:
            if at not in self._ranges:
                self._ranges[at] = Ranges(partial(self.read_range, entry), entry.size, self.pool, self._block_bytes)
            self._ranges.move_to_end(at)
            while len(self._ranges) > MAX_OPEN:
                self._ranges.popitem(last=False)
            return self._ranges[at]

    def drop(self, key: str) -> None:
        """Let go of the bytes of an object."""
        with self._lock:
            for at in [at for at in self._ranges if at[0] == key]:
                del self._ranges[at]

    def made(self, what: str, entry: Entry) -> Any:
        """Return what `once` made of an object; None if nothing was."""
        return self._made.get((what, entry.key, entry.etag))

    def once(self, what: str, entry: Entry, make: Callable[[], _Made]) -> _Made:
        """Return what was made of an object, for as long as the object is the same."""
        at = what, entry.key, entry.etag
        if at not in self._made:
            self._made[at] = make()
        made: _Made = self._made[at]
        return made
