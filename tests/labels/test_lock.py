"""One process per SAE, whatever became of the ones before."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from saefetch.errors import LockedError
from saefetch.files.lock import holder as holder_of
from saefetch.files.lock import lock_folder

HOLD = """
import sys
from pathlib import Path
from saefetch.files.lock import lock_folder
with lock_folder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""
# Takes the lock again and again, and adds one to a number in a file by reading and writing it.
COUNT = """
import sys
from pathlib import Path
from saefetch.errors import LockedError
from saefetch.files.lock import lock_folder
folder, number, n = Path(sys.argv[1]), Path(sys.argv[2]), 0
while n < 200:
    try:
        with lock_folder(folder):
            number.write_text(str(int(number.read_text()) + 1))
            n += 1
    except LockedError:
        pass
"""


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the lock until it is told to let go."""
    command = [sys.executable, "-c", HOLD, folder]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        try:
            yield process
        finally:
            process.kill()


def test_the_second_process_is_told_the_firsts_pid_and_the_folder(tmp_path: Path) -> None:
    with holder(tmp_path) as first:
        with pytest.raises(LockedError) as refusal, lock_folder(tmp_path):
            raise AssertionError("both hold it")
        assert f"pid {first.pid}" in str(refusal.value)
        assert str(tmp_path) in str(refusal.value)
        assert "\n" not in str(refusal.value)
        assert (tmp_path / ".lock").exists()


def test_two_folders_are_two_locks(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with holder(tmp_path / "other"), lock_folder(tmp_path):
        pass


def test_the_lock_file_of_a_killed_process_blocks_nobody(tmp_path: Path) -> None:
    with holder(tmp_path) as first:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        assert (tmp_path / ".lock").read_text() == f"{first.pid}\n"
        with lock_folder(tmp_path):
            assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_long_text_in_a_stale_lock_file_is_gone_once_it_is_held(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("9" * 100)
    with lock_folder(tmp_path):
        assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize("exception", [None, ValueError, KeyboardInterrupt])
def test_the_lock_file_is_gone_afterwards(tmp_path: Path, exception: type[BaseException] | None) -> None:
    if exception is None:
        with lock_folder(tmp_path):
            pass
    else:
        with pytest.raises(exception), lock_folder(tmp_path):
            raise exception
    assert list(tmp_path.iterdir()) == []


def test_a_refused_process_leaves_the_lock_file_alone(tmp_path: Path) -> None:
    with lock_folder(tmp_path):
        for _ in range(2):
            with pytest.raises(LockedError), lock_folder(tmp_path):
                pass
        assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"


def test_a_folder_that_does_not_exist_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), lock_folder(tmp_path / "nowhere"):
        pass


def test_removing_the_lock_file_lets_no_two_in_at_once(tmp_path: Path) -> None:
    """Three processes take and remove the lock 200 times each; a lost update would be two that held it together."""
    number = tmp_path / "number"
    number.write_text("0")
    (tmp_path / "folder").mkdir()
    command = [sys.executable, "-c", COUNT, tmp_path / "folder", number]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert number.read_text() == "600"
    assert list((tmp_path / "folder").iterdir()) == []


def test_who_only_asks_for_the_holder_keeps_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is refused once, as if `holder` had it for an instant."""
    refusals = [BlockingIOError()]
    flock = fcntl.flock

    def refusing(descriptor: int, how: int) -> None:
        if refusals:
            raise refusals.pop()
        flock(descriptor, how)

    monkeypatch.setattr("saefetch.files.lock.fcntl.flock", refusing)
    with lock_folder(tmp_path):
        assert holder_of(tmp_path) == str(os.getpid())
    assert holder_of(tmp_path) is None
