"""What is dear to compute is kept while there is room, and computed once, whoever asks for it at the same time.

A value is kept by its key, and holds for one version of what it was made of. What is counted anew with every change
would be counted all the time while a download runs: some milliseconds for 16,384 features, a second for a million. With
`patience` an older version is good enough until `patience` times as long as it took to compute have gone by.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE = 10


@dataclass(frozen=True, slots=True)
class _Kept:
    version: Hashable
    value: Any
    took_s: float
    ended_s: float


class Cache:
    """The `most` values that were asked for last, of each key the last version. Safe for several threads."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], T], version: Hashable = None, *, patience: float = 0) -> T:
        """Return what `make` returned for this key and version, now or before. What `make` raises is not kept."""
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                kept = self._kept.get(key)
                if kept is not None and (kept.version == version or self._is_recent(kept, patience)):
                    self._kept.move_to_end(key)
                    found: T = kept.value
                    return found
            began_s = self._clock()
            made = make()
            ended_s = self._clock()
            with self._lock:
                self._kept[key] = _Kept(version, made, ended_s - began_s, ended_s)
                self._kept.move_to_end(key)
                while len(self._kept) > self._most:
                    gone, _ = self._kept.popitem(last=False)
                    self._making.pop(gone, None)
            return made

    def peek(self, key: Hashable, version: Hashable = None) -> Any:
        """Return what is kept for this key and version, None if there is nothing."""
        with self._lock:
            kept = self._kept.get(key)
            return kept.value if kept is not None and kept.version == version else None

    def _is_recent(self, kept: _Kept, patience: float) -> bool:
        return patience > 0 and self._clock() <= kept.ended_s + patience * kept.took_s
