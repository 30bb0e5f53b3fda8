"""What is under a data folder: which SAEs, how far each one is, and whether finished ones are sound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from saefetch.errors import StoreError
from saefetch.publish import LABELS_NAME, METADATA_NAME, SaeInfo, Stats, render
from saefetch.search import stored_preference
from saefetch.store import FILE_NAME, State, Store

MEND = "remove it, and `saefetch download` writes it anew"


@dataclass(slots=True)
class Progress:
    """How far one SAE's download is. `next_step` says what running it again would do."""

    sae_release: str
    sae_id: str
    neuronpedia_id: str
    path: str
    state: str
    total_features: int = 0
    successful: int = 0
    missing: int = 0
    failed: int = 0
    remaining: int = 0
    next_step: str = ""


def folders(data_dir: Path) -> Iterator[Path]:
    """Yield the folders that hold a store, in the order of their names."""
    yield from sorted(path.parent for path in data_dir.glob(f"*/*/{FILE_NAME}"))


def progress(folder: Path) -> Progress:
    """Read one store, also while a download writes to it; a store that cannot be read says so in `state`."""
    try:
        store = Store.open_read_only(folder)
    except StoreError as exc:
        return Progress(folder.parent.name, folder.name, "", str(folder), "unreadable", next_step=str(exc))
    try:
        total = int(store.meta("num_features", 0))
        half = bool(store.meta("export_open"))
        states = store.states(total, api_only=half)
        n = {state: states.count(state) for state in State}
        found = Progress(
            str(store.meta("release", folder.parent.name)),
            str(store.meta("sae_id", folder.name)),
            str(store.meta("neuronpedia_id", "")),
            str(folder),
            state="complete",
            total_features=total,
            successful=n[State.GOT] + n[State.ORPHAN],
            missing=n[State.MISSING] + n[State.NOT_EXPORTED],
            failed=n[State.FAILED],
            remaining=n[State.UNKNOWN],
            next_step="nothing to fetch; --refresh looks for changes",
        )
        if half or found.remaining or found.failed:
            found.state = "incomplete"
            n_open = found.remaining + found.failed
            found.next_step = (
                f"fetch the export's remaining objects ({len(store.etags()):,} are here)"
                if half
                else (
                    f"fetch {n_open:,} features"
                    + (f", {found.failed:,} of which failed before" if found.failed else "")
                )
            )
        return found
    finally:
        store.close()


def check(folder: Path) -> list[str]:
    """Compare the published files with the store, byte for byte, and the store with itself; return what is wrong."""
    try:
        store = Store.open_read_only(folder)
    except StoreError as exc:
        return [str(exc)]
    try:
        return list(_problems(store, folder))
    except StoreError as exc:
        return [str(exc)]
    finally:
        store.close()


def _problems(store: Store, folder: Path) -> Iterator[str]:
    for (verdict,) in store.query("PRAGMA integrity_check(5)"):
        if verdict != "ok":
            yield f"{store.path}: {verdict}"
    labels, metadata = folder / LABELS_NAME, folder / METADATA_NAME
    for path in (labels, metadata):
        if not path.is_file():
            yield f"{path}: not there; `saefetch download` writes it from the store"
    if not labels.is_file() or not metadata.is_file():
        return
    info = SaeInfo(**{name: store.meta(name) for name in SaeInfo.__dataclass_fields__})
    stats, n_bytes = Stats(info.num_features), 0
    with labels.open("rb") as file:
        for expected in render(store, info, stored_preference(store), stats):
            if file.read(len(expected)) != expected:
                yield f"{labels}: differs from the store near byte {n_bytes:,}; {MEND}"
                return
            n_bytes += len(expected)
        if file.read(1):
            yield f"{labels}: has something after its end; {MEND}"
    if _read(metadata).get("stats") != stats.document():
        yield f"{metadata}: its counts are not the store's; {MEND}"


def _read(path: Path) -> dict[str, Any]:
    try:
        document = orjson.loads(path.read_bytes())
    except (orjson.JSONDecodeError, OSError):
        return {}
    return document if isinstance(document, dict) else {}
