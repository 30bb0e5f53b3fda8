"""Run a command as a process of its own and measure it; run the stand-in as another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

REPO = Path(__file__).parent.parent


SAMPLE_S = 0.01


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a command: wall clock from its start to its end, CPU time and largest memory of all its processes."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    said: dict[str, Any]
    """The JSON object that it printed."""


def run(command: Sequence[str | Path]) -> Run:
    """Run `command`, which prints one JSON object.

    Raises: RuntimeError if it fails.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        began = time.perf_counter()
        process = subprocess.Popen([str(part) for part in command], cwd=REPO, stdout=output, stderr=errors)
        with _watch(process.pid) as watched:
            _, status, usage = os.wait4(process.pid, 0)  # the CPU time includes its children's, which it waited for
            wall_s = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            raise RuntimeError(f"{command} ended with {process.returncode}: {errors.read()[-2000:]}")
        peak_mb = max(watched.peak_mb, usage.ru_maxrss / 1024)
        return Run(wall_s, usage.ru_utime + usage.ru_stime, peak_mb, json.loads(output.read()))


class _Watched:
    """The largest memory of a process and its children that was seen, with each page counted once.

    A page of a child counts if it is the child's alone: the others it has from its parent, whose pages count anyway.
    """

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._children = Path(f"/proc/{pid}/task/{pid}/children")  # psutil would go through all processes there are
        self.peak_mb = 0.0
        self.done = threading.Event()

    def watch(self) -> None:
        while not self.done.wait(SAMPLE_S):
            with suppress(psutil.Error, OSError):  # it has just ended
                n_bytes = self._process.memory_info().rss
                for pid in self._children.read_text().split():
                    n_bytes += psutil.Process(int(pid)).memory_full_info().uss
                self.peak_mb = max(self.peak_mb, n_bytes / 1024 / 1024)


@contextmanager
def _watch(pid: int) -> Iterator[_Watched]:
    watched = _Watched(pid)
    thread = threading.Thread(target=watched.watch)
    thread.start()
    try:
        yield watched
    finally:
        watched.done.set()
        thread.join()


@contextmanager
def standin(folder: Path, *flags: str | Path) -> Iterator[dict[str, str]]:
    """Start a stand-in with these flags; yield its `api_url` and `export_url`."""
    ready = folder / "ready.json"
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "standin", "--ready-file", ready, *flags]
    process = subprocess.Popen([str(part) for part in command], cwd=REPO, stdout=subprocess.DEVNULL)
    try:
        while not ready.exists():
            if process.poll() is not None:
                raise RuntimeError(f"the stand-in ended with {process.returncode}")
            time.sleep(0.05)
        yield json.loads(ready.read_text())
    finally:
        process.terminate()
        process.wait()
