"""How tests download from a stand-in: in this process, or as the command line in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saefetch.download import run_jobs
from saefetch.identity import Target
from saefetch.job import Outcome
from saefetch.progress import Quiet
from saefetch.settings import Settings
from saefetch.sources.feature import CHUNK_SIZE
from saefetch.standin import Standin, World
from saefetch.store import State, Store

MODEL, SOURCE = "tiny-model", "3-tiny-res"
NEURONPEDIA_ID = f"{MODEL}/{SOURCE}"
FILES = {"feature_labels.json", "metadata.json", "labels.sqlite"}
FAST = {"requests_per_second": 10_000.0}
"""So that no test waits for a token bucket."""


def make_world(n_features: int, **knobs: Any) -> World:
    world = World()
    world.add_source(MODEL, SOURCE, n_features, **knobs)
    return world


def folder_in(data_dir: Path) -> Path:
    return data_dir / MODEL / SOURCE


def download(
    standin: Standin, data_dir: Path, source: str, *, refresh: bool = False, scope: range | None = None, **settings: Any
) -> Outcome:
    """Download in this process."""
    settings = FAST | settings | {"api_url": standin.api_url, "export_url": standin.export_url}
    target = Target(MODEL, SOURCE, NEURONPEDIA_ID, standin.world.d_sae(MODEL, SOURCE))
    everything = Settings(source=source, data_dir=data_dir, **settings)
    (outcome,) = asyncio.run(run_jobs([target], everything, Quiet(), scope=scope, refresh=refresh))
    return outcome


def published(data_dir: Path) -> dict[str, Any]:
    """Return what two downloads of the same labels must agree on."""
    document = json.loads((folder_in(data_dir) / "feature_labels.json").read_bytes())
    return {"features": document["features"], "stats": document["stats"]}


def names_in(data_dir: Path) -> set[str]:
    return {path.name for path in folder_in(data_dir).iterdir()}


@dataclass(frozen=True)
class Committed:
    """What a folder's store holds for good, whatever state a dead process left it in."""

    etags: dict[str, str]
    closed: set[int]

    @classmethod
    def of(cls, data_dir: Path, n_features: int) -> Committed:
        """Look at a copy: opening the store itself would mend what a later run has to mend."""
        if not (folder_in(data_dir) / "labels.sqlite").exists():
            return cls({}, set())
        with tempfile.TemporaryDirectory() as elsewhere:
            copy = Path(elsewhere) / "copy"
            shutil.copytree(folder_in(data_dir), copy)
            store = Store.open(copy)
            states = store.states(n_features)
            held = cls(store.etags(), {i for i in range(n_features) if states[i] in (State.GOT, State.MISSING)})
            store.close()
        return held


@dataclass(frozen=True)
class Asked:
    """What a stand-in was asked since its log was cleared."""

    listings: list[str]
    objects: list[str]
    indices: list[int]

    @classmethod
    def of(cls, standin: Standin) -> Asked:
        listings, objects, indices = [], [], []
        for record in standin.requests:
            path = record.path.partition("?")[0]
            if record.origin == "export":
                (listings if path == "/" else objects).append(record.path.lstrip("/"))
            elif record.method == "POST":
                indices += [element["index"] for element in record.json()]
            else:
                indices.append(int(path.rpartition("/")[2]))
        return cls(listings, objects, indices)


def assert_only_what_was_missing_was_fetched(standin: Standin, source: str, before: Committed) -> None:
    asked = Asked.of(standin)
    if source == "export":
        assert sorted(asked.objects) == sorted(export_keys(standin) - before.etags.keys())
        return
    # Before the first feature is called missing, the crawl looks at some others: up to a batch, or 16 single ones.
    n_features = standin.world.d_sae(MODEL, SOURCE)
    again = sorted(index for index in asked.indices if index in before.closed)
    assert not again or not before.closed, f"asked for what was committed: {again}"
    assert set(range(n_features)) - before.closed <= set(asked.indices)


def export_keys(standin: Standin) -> set[str]:
    """Return the objects that a download of the export reads."""
    folders = (f"v1/{NEURONPEDIA_ID}/features/", f"v1/{NEURONPEDIA_ID}/explanations/")
    return {o.key for folder in folders for o in standin.bucket.objects(folder)}


class Cli:
    """`python -m saefetch` in a process of its own, its output in files."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        folder.mkdir(exist_ok=True)
        stem = folder / f"cli-{time.monotonic_ns()}"
        self._out, self._err = stem.with_suffix(".out"), stem.with_suffix(".err")
        command = [sys.executable, "-m", "saefetch", *arguments]
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("SAEFETCH_", "NEURONPEDIA_"))}
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=folder, env=environment
            )

    @property
    def out(self) -> str:
        return self._out.read_text("utf-8")

    @property
    def err(self) -> str:
        return self._err.read_text("utf-8")

    def wait(self, within_s: float = 30.0) -> int:
        """Return the exit status; a process that takes longer is killed, and the test fails."""
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"still running after {within_s} s; it said: {self.err}") from None

    def summary(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.out)
        return document


def wait_until(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    """Poll until the condition holds."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.005)
