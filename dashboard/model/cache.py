"""Answers that are dear to compute, kept while there is room: each is computed once, whoever asks at the same time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Cache:
    """The `most` answers that were asked for last, by key; of each the last version. Safe for several threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, tuple[Hashable, Any]] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], T], version: Hashable = None) -> T:
        """Return what `make` returned for this key and version, now or before; what it raises is not kept."""
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                kept = self._kept.get(key)
                if kept is not None and kept[0] == version:
                    self._kept.move_to_end(key)
                    found: T = kept[1]
                    return found
            made = make()
            with self._lock:
                self._kept[key] = version, made
                self._kept.move_to_end(key)
                while len(self._kept) > self._most:
                    gone, _ = self._kept.popitem(last=False)
                    self._making.pop(gone, None)
            return made

    def peek(self, key: Hashable, version: Hashable = None) -> Any:
        """Return what is kept for this key and version, None if there is nothing."""
        with self._lock:
            kept = self._kept.get(key)
            return kept[1] if kept is not None and kept[0] == version else None
