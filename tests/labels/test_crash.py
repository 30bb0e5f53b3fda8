"""Kill the download before every system call that makes something durable or gives it a name, then resume.

`crash_shim.c` does the killing, `crash_zygote.py` makes it quick. SIGKILL loses no page that the kernel has; torn
writes are imitated by the shim, reordered ones are left to SQLite's own tests.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from aftermath import Asked, Committed, assert_only_the_gap_was_fetched, assert_whole, export_etags, published
from harness import download, make_world, plant, target

from standin import Standin

HERE = Path(__file__).parents[1] / "support"
N_FEATURES = 40
BATCH_SIZE = 14

pytestmark = pytest.mark.skipif(
    shutil.which("cc") is None or not sys.platform.startswith("linux"),
    reason="needs a C compiler named cc, and LD_PRELOAD",
)


class Zygote:
    """The other end of `crash_zygote.py`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def survives(self, crash_at: int, standin: Standin, data_dir: Path, source: str, *, refresh: bool = False) -> bool:
        """Run one download that dies at the `crash_at`-th call (0: at none); return True if it got through."""
        order = {
            "crash_at": crash_at,
            "target": asdict(target(N_FEATURES)),
            "settings": {
                "api_url": standin.api_url,
                "export_url": standin.export_url,
                "source": source,
                "data_dir": str(data_dir),
                "batch_size": BATCH_SIZE,
                "requests_per_second": 1e5,
            },
            "refresh": refresh,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        status = int(self._process.stdout.readline())
        assert status in (0, -signal.SIGKILL)
        return status == 0


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


def serve(label_of_7: str | None = None) -> Standin:
    world = make_world(N_FEATURES, missing={3}, absent_from_export={11})
    if label_of_7 is not None:
        plant(world, 7, label_of_7)
    return Standin(world, features_batch=20, explanations_batch=20, lean=True)


@pytest.mark.parametrize("source", ["export", "batch"])
def test_a_crash_at_any_call_costs_at_most_the_chunks_in_flight(tmp_path: Path, zygote: Zygote, source: str) -> None:
    with serve() as standin, serve() as resuming:
        assert zygote.survives(0, standin, tmp_path / "undisturbed", source)
        expected = published(tmp_path / "undisturbed")
        for n in range(1, 1000):
            data_dir = tmp_path / f"{n}"
            if zygote.survives(n, standin, data_dir, source):
                break
            before = Committed.of(data_dir, N_FEATURES)
            resuming.requests.clear()
            assert download(resuming, data_dir, source, batch_size=BATCH_SIZE).outcome.error is None
            assert_only_the_gap_was_fetched(resuming, source, before)
            assert_whole(data_dir, expected)
            shutil.rmtree(data_dir)
        assert_whole(data_dir, expected)
    assert n > 40, "the shim counts next to nothing"


def test_a_crash_in_a_refresh_leaves_each_object_old_or_new(tmp_path: Path, zygote: Zygote) -> None:
    with serve("before") as standin:
        download(standin, tmp_path / "old", "export")
        old, old_etags = published(tmp_path / "old"), export_etags(standin)
    with serve("after") as standin, serve("after") as resuming:
        new_etags = export_etags(standin)
        assert zygote.survives(0, standin, tmp_path / "new", "export")
        new = published(tmp_path / "new")
        assert old != new
        for n in range(1, 1000):
            data_dir = tmp_path / f"{n}"
            shutil.copytree(tmp_path / "old", data_dir)
            if zygote.survives(n, standin, data_dir, "export", refresh=True):
                break
            before = Committed.of(data_dir, N_FEATURES)
            assert before.closed == set(range(N_FEATURES)) - {3, 11}, "a feature is between its two versions"
            assert all(before.etags[key] in (old_etags[key], new_etags[key]) for key in old_etags)
            resuming.requests.clear()
            assert download(resuming, data_dir, "export", refresh=True).outcome.error is None
            asked = Asked.of(resuming).objects
            assert sorted(asked) == sorted(key for key in new_etags if before.etags[key] != new_etags[key])
            assert_whole(data_dir, new)
            shutil.rmtree(data_dir)
        assert_whole(data_dir, new)
    assert n > 20, "the shim counts next to nothing"
