"""The digest of a folder is that of all its files and their names."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from saefetch.files.digest import Stopped, sha256_of, status_of


def test_a_files_digest_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
    with pytest.raises(Stopped):
        sha256_of(tmp_path / "a", lambda: True)


def test_a_folders_digest_and_status_change_with_whatever_changes_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    for name, content in {"a": b"1", "c/0": b"22", "c/1": b""}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        os.utime(folder / name, ns=(5, 5))
    seen = {(sha256_of(folder), status_of(folder)[:2])}
    assert status_of(folder)[:2] == (3, 5) and (sha256_of(folder), (3, 5)) in seen
    for change in (
        lambda: (folder / "a").write_bytes(b"2"),
        lambda: (folder / "a").rename(folder / "b"),
        lambda: (folder / "c" / "0").write_bytes(b"222"),
        lambda: (folder / "c" / "1").unlink(),
    ):
        change()
        now = (sha256_of(folder), status_of(folder)[:2])
        assert now[0] not in {digest for digest, _ in seen}
        seen.add(now)
    (folder / "a").write_bytes(b"")
    os.utime(folder / "a", ns=(1 << 61, 1 << 61))
    assert status_of(folder).st_mtime_ns == 1 << 61
