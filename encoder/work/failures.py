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
from pathlib import Path
from typing import Any

from encoder.errors import EncoderError
from encoder.file.beside import FAILED
from encoder.stores.opened import open_store
from encoder.stores.store import write_over
from saefetch.times import utc_now


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
            "failed_at": utc_now(),
        }


def write_failures(out: Path, failures: dict[str, Failure]) -> None:
    """Write what is said of each shard, by the name of its result, over what was said of it before."""
    store = open_store(out)
    for name, failure in failures.items():
        key, data = f"{FAILED}/{name}.json", json.dumps(failure.document(), indent=1).encode() + b"\n"
        write_over(store, key, data)


def remove_failures(out: Path, done: Iterable[tuple[str, str]]) -> None:
    """Remove what is said of shards that are `done`, each a name and the shard; of other shards it stays."""
    store = open_store(out)
    there = {entry.key for entry in store.folder(FAILED)[1]}
    if not there:
        return
    for name, shard in done:
        key = f"{FAILED}/{name}.json"
        if key in there:
            with suppress(EncoderError, OSError, ValueError, AttributeError):  # gone, or nothing of ours
                if json.loads(store.read(key)).get("shard") == shard:
                    store.delete(key)
    with suppress(OSError):  # others are left in it
        (out / FAILED).rmdir()
