"""A file gets its final name whole, or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from saefetch.files.atomic import atomic_write


def test_a_reader_sees_the_old_file_until_the_block_ends_and_then_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("exception", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path, exception: type[BaseException]) -> None:
    path = tmp_path / "labels.json"
    path.write_bytes(b"old")
    with pytest.raises(exception), atomic_write(path) as file:
        file.write(b"half")
        raise exception
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_crash_left_is_removed_by_the_next_write_of_the_same_file(tmp_path: Path) -> None:
    (tmp_path / "labels.json.0badcafe.tmp").write_bytes(b"half")
    (tmp_path / "metadata.json.0badcafe.tmp").write_bytes(b"somebody else's")
    with atomic_write(tmp_path / "labels.json") as file:
        file.write(b"new")
    assert {path.name for path in tmp_path.iterdir()} == {"labels.json", "metadata.json.0badcafe.tmp"}


def test_a_full_disk_leaves_the_old_file_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_bytes(b"old")
    script = (
        "import resource, sys; from pathlib import Path; from saefetch.files.atomic import atomic_write\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    with atomic_write(Path(sys.argv[1])) as file: file.write(b'x' * 5000)\n"
        "except OSError as exc: sys.exit(exc.errno)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, path], check=False).returncode == errno.EFBIG
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_target_that_cannot_be_replaced_leaves_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "labels.json").mkdir()
    with pytest.raises(OSError), atomic_write(tmp_path / "labels.json") as file:
        file.write(b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["labels.json"]


def test_a_reader_that_never_stops_looking_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    whole = [bytes([letter]) * 100_000 for letter in b"ab"]
    path.write_bytes(whole[0])
    seen, done = set(), threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for turn in range(50):
            with atomic_write(path) as file:
                file.write(whole[turn % 2][:50_000])
                file.flush()
                file.write(whole[turn % 2][50_000:])
    finally:
        done.set()
        reader.join()
    assert seen <= set(whole)


def test_the_file_is_on_disk_before_it_has_its_name_and_the_name_before_it_returns(tmp_path: Path) -> None:
    """The order of system calls, from strace where it is; `test_crash.py` kills between them."""
    strace = "/usr/bin/strace"
    if not os.access(strace, os.X_OK):
        pytest.skip(f"needs {strace}")
    script = (
        "import sys; from pathlib import Path; from saefetch.files.atomic import atomic_write\n"
        "with atomic_write(Path(sys.argv[1])) as file: file.write(b'new')"
    )
    path = tmp_path / "labels.json"
    log = tmp_path / "log"
    command = [strace, "-y", "-o", log, "-e", "trace=write,fsync,rename", sys.executable, "-c", script, path]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("strace may not trace here")
    calls = [line.split("(")[0] for line in log.read_text().splitlines() if str(tmp_path) in line]
    assert calls == ["write", "fsync", "rename", "fsync"]
