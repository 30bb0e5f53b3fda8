"""`<out>/_failed/<name>.json`: each shard that could not be encoded, with the reason, beside the results of the others.

    {"shard", "error", "traceback", "attempts", "sae", "failed_at"}

Every run writes them, whatever shares out its work. The next run tries such a shard again, and removes what is said of
it once it is done.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from encoder.file.beside import FAILED
from saefetch.files.atomic import atomic_write


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a shard has no result. `traceback` is "" and `attempts` 0 where no attempt was made."""

    shard: str
    error: str
    sae: Any
    traceback: str = ""
    attempts: int = 0

    def document(self) -> dict[str, Any]:
        return {
            "shard": self.shard,
            "error": self.error,
            "traceback": self.traceback,
            "attempts": self.attempts,
            "sae": self.sae,
            "failed_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }


def write_failures(out: Path, failures: dict[str, Failure]) -> None:
    """Write what is said of each shard, by the name of its result."""
    for name, failure in failures.items():
        path = out / FAILED / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(json.dumps(failure.document(), indent=1).encode() + b"\n")


def remove_failures(out: Path, done: Iterable[tuple[str, str]]) -> None:
    """Remove what is said of shards that are `done`, each a name and the shard; of other shards it stays."""
    folder = out / FAILED
    if not folder.is_dir():
        return
    for name, shard in done:
        path = folder / f"{name}.json"
        with suppress(OSError, ValueError, AttributeError):  # not there, or nothing of ours
            if json.loads(path.read_bytes()).get("shard") == shard:
                path.unlink()
    with suppress(OSError):  # others are left in it
        folder.rmdir()
