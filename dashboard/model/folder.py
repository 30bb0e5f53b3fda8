"""A folder of features that may grow while it is looked at: `sae-encode` publishes a shard by renaming it into place.

The time at which the folder changed says cheaply whether there was a rename. That time is no finer than a few
milliseconds, so it is trusted only once it lies a while back. It does not change when a file is written over in its
place, as `cp` does, so the files themselves are listed from time to time, too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from dashboard.model.cache import Cache
from dashboard.model.corpus import Corpus
from encoder.errors import EncoderError
from encoder.file.folder import open_features
from encoder.index import FeatureIndex
from encoder.index.format import NAME, open_index_file, place_of
from encoder.stores.object_path import ObjectPath

SETTLED_NS = 1_000_000_000
TRUSTED_S = 5.0
"""For how long an unchanged folder is taken to hold unchanged files."""
KEPT_OF_SHARDS = 1 << 16


Names = tuple[tuple[str, int, int, int], ...]
"""Files by their names, with inode, size and time of change."""


class FeaturesFolder:
    """The features of a folder, or of one file. `corpus` is what is there now, None if there is nothing yet.

    `index` is the file of their index, features.csc of the folder if it is not given.

    Safe for several threads.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic, *, index: Path | None = None) -> None:
        self.path, self._index, self._is_elsewhere = path, path / NAME if index is None else index, index is not None
        self._clock = clock
        self._lock = threading.Lock()
        self._changed_ns: int | None = None
        self._looked_s = 0.0
        self._seen: tuple[Names, Names] = ((), ())
        self._corpus: Corpus | None = None
        self._of_shards = Cache(KEPT_OF_SHARDS)

    def corpus(self) -> Corpus | None:
        """Open what has changed. Raises: EncoderError if a file is damaged or of another SAE than the rest."""
        with self._lock:
            try:
                # A store tells no time of change: it is asked for its list from time to time.
                changed_ns = 0 if isinstance(self.path, ObjectPath) else self.path.stat().st_mtime_ns
            except OSError:
                self._seen, self._changed_ns, self._corpus = ((), ()), None, None
                return None
            if changed_ns != self._changed_ns or self._clock() - self._looked_s > TRUSTED_S:
                self._changed_ns = None  # so that every request names a damaged file
                self._looked_s = self._clock()
                self._look()
                is_settled = abs(time.time_ns() - changed_ns) > SETTLED_NS
                self._changed_ns = changed_ns if is_settled else None
            return self._corpus

    def look_again(self) -> None:
        """Trust nothing at the next `corpus`."""
        with self._lock:
            self._changed_ns = None

    def _look(self) -> None:
        """List the folder, and open what is not as it was."""
        if isinstance(self.path, ObjectPath):
            self.path.tree.forget()
        shards = self._list("*.npz")
        if isinstance(self.path, ObjectPath) and not self._is_elsewhere and shards != self._seen[0]:
            self._index = place_of(self.path)[1]  # other shards, another index
        seen = shards, self._names([self._index])
        if seen == self._seen:
            return
        if not shards:
            self._corpus = None
        else:
            is_same = self._corpus is not None and shards == self._seen[0]
            features = self._corpus.features if self._corpus and is_same else open_features(self.path)
            self._corpus = Corpus(features, self._of_shards, self._open_index() if seen[1] else None)
        self._seen = seen

    def _open_index(self) -> FeatureIndex | None:
        try:
            return FeatureIndex(open_index_file(self._index, self.path))
        except EncoderError:  # a damaged index is treated as missing, so the page shows the command that makes it
            return None

    def _list(self, pattern: str) -> Names:
        return self._names([self.path] if self.path.is_file() else sorted(self.path.glob(pattern)))

    @staticmethod
    def _names(paths: Iterable[Path]) -> Names:
        names = []
        for path in paths:
            with suppress(FileNotFoundError, NotADirectoryError):  # it has just been removed
                stat = path.stat()
                names.append((path.name, stat.st_ino, stat.st_size, stat.st_mtime_ns))
        return tuple(names)
