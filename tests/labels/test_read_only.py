"""Labels in a folder of another user: everything that reads works, whatever state the last writer left."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from another_user import open_folder, reading_only
from harness import RELEASE, SAE_ID, Download, download, make_world

from saefetch import open_labels
from saefetch.errors import StoreError
from saefetch.inventory import check, progress
from saefetch.store.store import FILE_NAME, Store
from standin import Standin


@pytest.fixture(name="standin")
def make_standin() -> Iterator[Standin]:
    with Standin(make_world(60)) as standin:
        yield standin


@pytest.fixture(name="shared")
def make_shared() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


def left_by_a_crash(folder: Path, kept: tuple[str, ...]) -> None:
    """Leave the store as a killed writer does: in WAL mode, with a commit in the log, and these of its files."""
    path = folder / FILE_NAME
    before = path.with_name("before.sqlite")
    shutil.copy(path, before)
    with closing(sqlite3.connect(before, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        writer.execute("INSERT INTO meta VALUES ('left', 'in the log')")
        for suffix in kept:
            shutil.copy(f"{before}{suffix}", f"{path}{suffix}")
    for file in folder.glob("before*"):
        file.unlink()


def read_everything(folder: Path, data_dir: Path) -> tuple[object, ...]:
    with open_labels(data_dir, RELEASE, SAE_ID) as labels:
        found = [hit.index for hit in labels.search("the")]
        first = labels[0].description
    return progress(folder).state, check(folder), first, found


@pytest.mark.parametrize("kept", [(), ("",), ("", "-wal"), ("", "-wal", "-shm"), ("", "-shm")])
def test_labels_are_read_whatever_the_last_writer_left(standin: Standin, shared: Path, kept: tuple[str, ...]) -> None:
    folder = download(standin, shared).folder
    expected = read_everything(folder, shared)
    if kept:
        left_by_a_crash(folder, kept)
    names = sorted(path.name for path in folder.iterdir())
    with reading_only(shared):
        assert read_everything(folder, shared) == expected
        with closing(Store.open_read_only(folder)) as store:
            assert store.meta("left") == ("in the log" if "-wal" in kept else None)
        with (
            pytest.raises(StoreError, match="cannot be opened for this"),
            closing(Store.open_read_only(folder)) as store,
        ):
            store.set_meta(left="by a reader")
    assert sorted(path.name for path in folder.iterdir()) == names


def test_a_complete_sae_is_downloaded_without_a_lock_or_a_request(standin: Standin, shared: Path) -> None:
    first = download(standin, shared, "auto")
    n_before = len(standin.requests)
    with reading_only(shared):
        again = download(standin, shared, "auto")
    assert (again.status, again.outcome.error) == (0, None)
    assert len(standin.requests) == n_before and again.summary.requests == 0
    assert again.summary.resumed == again.summary.successful == first.summary.successful == 60
    assert again.summary.with_descriptions == first.summary.with_descriptions > 0
    assert again.summary.labels_path == first.summary.labels_path


def test_a_complete_sae_is_answered_while_another_process_has_the_folder(standin: Standin, tmp_path: Path) -> None:
    from saefetch.files.lock import lock_folder

    folder = download(standin, tmp_path).folder
    with lock_folder(folder):
        assert download(standin, tmp_path).status == 0
        assert download(standin, tmp_path, refresh=True).status == 4


def refused(again: Download) -> str:
    assert again.status == 1
    return str(again.outcome.error)


def test_what_would_have_to_be_written_is_refused_in_a_line(standin: Standin, shared: Path) -> None:
    download(standin, shared)
    with reading_only(shared):
        assert "Permission denied" in refused(download(standin, shared, refresh=True))
        assert "Permission denied" in refused(download(standin, shared, explanation_models=["another"]))
