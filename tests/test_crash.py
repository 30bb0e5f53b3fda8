"""Kill the download before every system call that makes something durable or gives it a name, then resume.

`crash_shim.c` does the killing, `crash_zygote.py` makes it quick. SIGKILL loses no page that the kernel has; torn writes
are imitated by the shim, reordered ones are left to SQLite's own tests.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from downloading import (
    FAST,
    FILES,
    MODEL,
    NEURONPEDIA_ID,
    SOURCE,
    Asked,
    Committed,
    assert_only_what_was_missing_was_fetched,
    download,
    export_keys,
    folder_in,
    make_world,
    names_in,
    published,
)

from saefetch.inventory import check
from saefetch.standin import Standin
from saefetch.store import Store

HERE = Path(__file__).parent
N_FEATURES = 40
SMALL = {"features_batch": 20, "explanations_batch": 20, "lean": True}
BATCH_SIZE = 14

pytestmark = pytest.mark.skipif(
    shutil.which("cc") is None or not sys.platform.startswith("linux"),
    reason="needs a C compiler named cc, and LD_PRELOAD",
)


class Zygote:
    """The other end of `crash_zygote.py`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def survives(self, crash_at: int, standin: Standin, data_dir: Path, source: str, refresh: bool) -> bool:
        """Run one download that dies at the `crash_at`-th call; return True if it got through."""
        settings = FAST | {"api_url": standin.api_url, "export_url": standin.export_url, "batch_size": BATCH_SIZE}
        order = {
            "crash_at": crash_at,
            "target": {
                "release": MODEL,
                "sae_id": SOURCE,
                "neuronpedia_id": NEURONPEDIA_ID,
                "n_features": N_FEATURES,
            },
            "settings": settings | {"source": source, "data_dir": str(data_dir)},
            "refresh": refresh,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        assert answer["killed"] or answer["status"] == 0, answer
        return not answer["killed"]


@pytest.fixture
def zygote(tmp_path: Path) -> Iterator[Zygote]:
    shim = tmp_path / "crash_shim.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", shim, HERE / "crash_shim.c", "-ldl"], check=True)
    process = subprocess.Popen(
        [sys.executable, HERE / "crash_zygote.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"LD_PRELOAD": str(shim)},
    )
    with process:
        yield Zygote(process)


@contextmanager
def serving() -> Iterator[Standin]:
    with Standin(make_world(N_FEATURES, missing={3}, absent_from_export={11}), **SMALL) as standin:
        yield standin


def assert_whole(data_dir: Path, expected: dict[str, Any]) -> None:
    """Nothing is lost, nothing is left over, and the search index was made."""
    assert published(data_dir) == expected
    assert names_in(data_dir) == FILES
    assert check(folder_in(data_dir)) == []
    store = Store.open_read_only(folder_in(data_dir))
    assert store.meta("searchable") == store.generation
    store.close()


@pytest.mark.parametrize("source", ["export", "batch"])
def test_a_crash_at_any_call_costs_at_most_the_chunks_in_flight(tmp_path: Path, zygote: Zygote, source: str) -> None:
    with serving() as standin:
        download(standin, tmp_path / "undisturbed", source, batch_size=BATCH_SIZE)
        expected = published(tmp_path / "undisturbed")
        n_crashes = 0
        for n in range(1, 2000):
            data_dir = tmp_path / f"{n}"
            if zygote.survives(n, standin, data_dir, source, refresh=False):
                break
            n_crashes += 1
            before = Committed.of(data_dir, N_FEATURES)
            standin.requests.clear()
            outcome = download(standin, data_dir, source, batch_size=BATCH_SIZE)
            assert outcome.error is None
            assert_only_what_was_missing_was_fetched(standin, source, before)
            assert_whole(data_dir, expected)
            shutil.rmtree(data_dir)
        assert_whole(tmp_path / f"{n}", expected)
    print(f"{source}: {n_crashes} crash points")
    assert n_crashes > 50
