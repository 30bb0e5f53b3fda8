"""Run a command as a process of its own and measure it; run the stand-in as another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPO = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a command: wall clock from its start to its end, CPU time of all its threads, largest resident set."""

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
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            raise RuntimeError(f"{command} ended with {process.returncode}: {errors.read()[-2000:]}")
        return Run(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, json.loads(output.read()))


@contextmanager
def standin(folder: Path, *flags: str | Path) -> Iterator[dict[str, str]]:
    """Start a stand-in with these flags; yield its `api_url` and `export_url`."""
    ready = folder / "ready.json"
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "saefetch.standin", "--ready-file", ready, *flags]
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
