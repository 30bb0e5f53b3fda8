"""A folder of features that may grow while it is looked at: `sae-encode` publishes a shard by renaming it into place.

The folder's own time of change says cheaply whether there was a rename. As it is no finer than a few milliseconds, it
is trusted only once it lies a while back.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

from dashboard.cache import Cache
from dashboard.corpus import Corpus
from encoder.features import open_features

SETTLED_NS = 1_000_000_000
KEPT_OF_SHARDS = 1 << 16


class FeaturesFolder:
    """The features of a folder, or of one file. `corpus` is what is there now, None if there is nothing yet.

    Safe for several threads.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._seen: tuple[tuple[str, int, int, int], ...] = ()
        self._changed_ns: int | None = None
        self._corpus: Corpus | None = None
        self._of_shards = Cache(KEPT_OF_SHARDS)

    def corpus(self) -> Corpus | None:
        """Open what has changed. Raises: EncoderError if a file is damaged or of another SAE than the rest."""
        with self._lock:
            try:
                changed_ns = self.path.stat().st_mtime_ns
            except OSError:
                self._seen, self._changed_ns, self._corpus = (), None, None
                return None
            if changed_ns != self._changed_ns:
                seen = self._list()
                if seen != self._seen or (seen and self._corpus is None):
                    self._changed_ns = None  # so that a file that is damaged is said to be so each time
                    self._corpus = Corpus(open_features(self.path), self._of_shards) if seen else None
                    self._seen = seen
                is_settled = abs(time.time_ns() - changed_ns) > SETTLED_NS
                self._changed_ns = changed_ns if is_settled else None
            return self._corpus

    def _list(self) -> tuple[tuple[str, int, int, int], ...]:
        paths = [self.path] if self.path.is_file() else sorted(self.path.glob("*.npz"))
        stats = ((path.name, path.stat()) for path in paths)
        return tuple((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
