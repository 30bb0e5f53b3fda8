"""What was worked out once on this machine, kept for the next process in the user's cache folder.

    $SAEFETCH_CACHE_DIR, else $XDG_CACHE_HOME/saefetch, else ~/.cache/saefetch
        <kind>/<digest of the key>.json    {"format", "key", "document"}

Anything there may be deleted at any time, and any number of processes may read and write at once: an entry is written
under a temporary name and renamed. An entry that is damaged, of another format or of another key counts as none. Where
the folder cannot be written, nothing is kept. SAEFETCH_CACHE_DIR set to nothing keeps nothing either.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

ENVIRONMENT = "SAEFETCH_CACHE_DIR"
FORMAT = 1
MAX_BYTES = 1 << 20
"""An entry of more bytes is not written."""
_DAY_S = 86_400.0


def cache_folder() -> Path | None:
    """Return the folder, which need not be there; None where nothing is to be kept."""
    named = os.environ.get(ENVIRONMENT)
    if named is not None:
        return Path(named) if named else None
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if base.is_absolute():  # others are to be ignored, the XDG specification says
        return base / "saefetch"
    try:
        return Path.home() / ".cache" / "saefetch"
    except RuntimeError:  # there is no home
        return None


class Cache:
    """Documents of one kind by their keys, `most` of them: those that were used last. Keys and documents are JSON."""

    def __init__(self, kind: str, most: int) -> None:
        folder = cache_folder()
        self._folder, self._most = None if folder is None else folder / kind, most

    def get(self, key: Any) -> dict[str, Any] | None:
        """Return the document that was put under the key; None if there is none."""
        path = self._path(key)
        if path is None:
            return None
        try:
            entry = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(entry, dict) or entry.get("format") != FORMAT or entry.get("key") != key:
            return None
        with suppress(OSError):  # the time of the last use, to the day
            if time.time() - path.stat().st_mtime > _DAY_S:
                os.utime(path)
        document = entry.get("document")
        return document if isinstance(document, dict) else None

    def put(self, key: Any, document: dict[str, Any]) -> None:
        """Keep a document under the key, in the place of an earlier one."""
        path = self._path(key)
        if path is None:
            return
        text = json.dumps({"format": FORMAT, "key": key, "document": document}).encode()
        temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}")
        if len(text) > MAX_BYTES:
            return
        with suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                temporary.write_bytes(text)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
            self._thin(path.parent)

    def _path(self, key: Any) -> Path | None:
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
        return None if self._folder is None else self._folder / f"{name}.json"

    def _thin(self, folder: Path) -> None:
        """Remove the entries that were not used for longest, and what writers left that were killed."""
        entries: list[tuple[float, Path]] = []
        for entry in folder.iterdir():
            with suppress(FileNotFoundError):
                used = entry.stat().st_mtime
                if not entry.name.startswith("."):
                    entries.append((used, entry))
                elif time.time() - used > _DAY_S:
                    entry.unlink()
        for _, old in sorted(entries)[: max(0, len(entries) - self._most)]:
            old.unlink(missing_ok=True)
