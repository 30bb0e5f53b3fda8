"""What a run left behind, and what the next one asks for."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from harness import EXPORT_PREFIX, MODEL, RELEASE, SAE_ID, SOURCE

from saefetch.inventory import check
from saefetch.names.identity import sae_folder
from saefetch.store.records import State
from saefetch.store.store import Store
from standin import Standin

CLOSED = (State.GOT, State.UNEXPLAINED, State.MISSING)
FILES = {"feature_labels.json", "metadata.json", "labels.sqlite"}


@dataclass(frozen=True)
class Committed:
    """What a folder's store holds for good, whatever state a dead process left it in."""

    etags: dict[str, str]
    closed: set[int]

    @classmethod
    def of(cls, data_dir: Path, n_features: int) -> Committed:
        """Look at a copy: opening the store itself would mend what a later run has to mend."""
        folder = sae_folder(data_dir, RELEASE, SAE_ID)
        if not (folder / "labels.sqlite").exists():
            return cls({}, set())
        with tempfile.TemporaryDirectory() as elsewhere:
            copy = Path(elsewhere) / "copy"
            shutil.copytree(folder, copy)
            store = Store.open(copy)
            states = store.states(n_features)
            held = cls(store.etags(), {i for i in range(n_features) if states[i] in CLOSED})
            store.close()
        return held


@dataclass(frozen=True)
class Asked:
    """What a stand-in was asked, by kind."""

    listings: list[str]
    objects: list[str]
    indices: list[int]

    @classmethod
    def of(cls, standin: Standin) -> Asked:
        asked = cls([], [], [])
        for record in standin.requests:
            path = record.path.partition("?")[0].removeprefix("/")
            if record.origin == "export":
                (asked.objects if path else asked.listings).append(path)
            elif record.method == "POST":
                asked.indices.extend(element["index"] for element in record.json())
            else:
                asked.indices.append(int(path.rpartition("/")[2]))
        return asked


def export_etags(standin: Standin) -> dict[str, str]:
    """Return key -> ETag of the objects that a download of the export reads."""
    folders = (f"{EXPORT_PREFIX}features/", f"{EXPORT_PREFIX}explanations/")
    return {o.key: o.etag for folder in folders for o in standin.bucket.objects(folder)}


def assert_only_the_gap_was_fetched(standin: Standin, source: str, before: Committed) -> None:
    """`standin` must be one that only the resuming run asked: what a killed one had sent can arrive after its death."""
    asked = Asked.of(standin)
    if source == "export":
        assert sorted(asked.objects) == sorted(export_etags(standin).keys() - before.etags.keys())
    else:
        n_features = standin.world.d_sae(MODEL, SOURCE)
        assert sorted(asked.indices) == sorted(set(range(n_features)) - before.closed)


def published(data_dir: Path) -> dict[str, Any]:
    """Return what two downloads of the same labels must agree on."""
    document = orjson.loads((sae_folder(data_dir, RELEASE, SAE_ID) / "feature_labels.json").read_bytes())
    return {"features": document["features"], "stats": document["stats"]}


def assert_whole(data_dir: Path, expected: dict[str, Any]) -> None:
    """Nothing is lost, nothing is left over, and the search index is that of these labels."""
    folder = sae_folder(data_dir, RELEASE, SAE_ID)
    assert published(data_dir) == expected
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert (folder / "labels.sqlite").read_bytes()[18:20] == b"\1\1", "still in WAL mode"
    assert check(folder) == []
    store = Store.open_read_only(folder)
    assert store.meta("searchable") == store.generation
    store.close()
