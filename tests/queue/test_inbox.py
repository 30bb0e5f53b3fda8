"""What is dropped into the inbox is taken once it has come to rest, and not before."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from encoder.queue.inbox import Inbox


class Watch:
    def __init__(self) -> None:
        self.time_s = 0.0

    def __call__(self) -> float:
        return self.time_s


def names(inbox: Inbox, watch: Watch, after_s: float) -> list[str]:
    watch.time_s += after_s
    return [path.name for path in inbox.take()]


def test_a_file_is_taken_once_when_its_size_is_stable(tmp_path: Path) -> None:
    watch = Watch()
    inbox = Inbox(tmp_path, 2.0, watch)
    file = tmp_path / "späße 1.npy"
    file.write_bytes(b"")
    assert names(inbox, watch, 10) == []
    for size in range(1, 4):
        file.write_bytes(b"x" * size)
        assert names(inbox, watch, 1.9) == []
    assert names(inbox, watch, 1.9) == []
    assert names(inbox, watch, 0.1) == [file.name]
    assert names(inbox, watch, 100) == []
    file.write_bytes(b"another")
    assert names(inbox, watch, 0) == []
    assert names(inbox, watch, 2) == [file.name]


def test_an_old_mtime_makes_no_file_stable(tmp_path: Path) -> None:
    """As `cp -p` and `rsync` set it, and preallocating copies keep the size."""
    watch = Watch()
    inbox = Inbox(tmp_path, 2.0, watch)
    file = tmp_path / "a.npy"
    file.write_bytes(b"x")
    os.utime(file, (1e9, 1e9))
    assert names(inbox, watch, 0) == []
    assert names(inbox, watch, 1.5) == []
    os.utime(file, (1e9, 1e9 + 1))
    assert names(inbox, watch, 1.5) == []
    assert names(inbox, watch, 2.0) == ["a.npy"]


def test_a_folder_comes_whole_and_again_when_something_is_added(tmp_path: Path) -> None:
    watch = Watch()
    inbox = Inbox(tmp_path, 2.0, watch)
    folder = tmp_path / "run" / "deep"
    folder.mkdir(parents=True)
    assert names(inbox, watch, 5) == []
    assert names(inbox, watch, 5) == [], "an empty folder is nothing yet"
    (folder / "a.npy").write_bytes(b"a")
    assert names(inbox, watch, 5) == []
    (folder / "b.npy").write_bytes(b"b")
    assert names(inbox, watch, 5) == []
    assert names(inbox, watch, 2) == ["run"]
    (folder / "c.npy").write_bytes(b"c")
    assert names(inbox, watch, 2) == []
    assert names(inbox, watch, 2) == ["run"]


def test_hidden_and_vanished_files_and_dangling_links_are_no_matter(tmp_path: Path) -> None:
    watch = Watch()
    inbox = Inbox(tmp_path, 2.0, watch)
    (tmp_path / ".a.npy.Xy12").write_bytes(b"rsync")
    (tmp_path / "link.npy").symlink_to("nowhere")
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone/a.npy").write_bytes(b"a")
    assert names(inbox, watch, 5) == []
    shutil.rmtree(tmp_path / "gone")
    assert names(inbox, watch, 5) == []
    (tmp_path / "gone").write_bytes(b"a file now")
    assert names(inbox, watch, 5) == []
    assert names(inbox, watch, 5) == ["gone"]
