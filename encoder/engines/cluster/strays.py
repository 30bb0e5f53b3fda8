"""The temporary files of attempts whose worker was killed or given up: who made them, and when they may go.

    <out>/<job>.npz.<attempt>.ray-<run>-<worker>.<token>.tmp

The driver removes those of its own run at the end, and of its finished jobs those of any run. A worker that wakes up
late finds its file gone, and publishes nothing. Objects in a store are written in one piece, so none is left of them.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

MARK = "ray-"
_STRAY = re.compile(rf"(.+)\.npz\.[0-9]+\.{MARK}([0-9a-f]+)-[0-9a-f]+\.[0-9a-f]+\.(?:.*\.)?tmp", re.DOTALL)


def remove_strays(folders: Collection[Path], run: str, finished: Collection[str]) -> None:
    """Remove what attempts of this run left in these folders of results, and what any left of `finished` jobs."""
    for folder in folders:
        with suppress(OSError):  # what is left does no harm
            for path in folder.glob("*.tmp"):
                found = _STRAY.fullmatch(path.name)
                if found and (found[2] == run or found[1] in finished):
                    path.unlink(missing_ok=True)
