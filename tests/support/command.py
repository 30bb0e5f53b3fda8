"""What the tests of the command line share: the real command as a process, and a stand-in in a thread of its own."""

from __future__ import annotations

import atexit
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from zygote import Zygote

from standin import Standin

RELEASE, SAE_ID = "gemma-scope-2b-pt-res-canonical", "layer_16/width_16k/canonical"
SUMMARY_KEYS = [
    "neuronpedia_id",
    "source",
    "total_features",
    "successful",
    "missing",
    "failed",
    "with_descriptions",
    "requests",
    "retries",
    "rate_limited",
    "bytes_received",
    "seconds",
    "resumed",
    "unexplained",
    "labels_path",
    "metadata_path",
]


@dataclass
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """Return the one JSON object that is all of stdout."""
        document = json.loads(self.out)
        assert isinstance(document, dict)
        return document


def environment(standin: Standin | None, **variables: str) -> dict[str, str]:
    """Return an environment without our variables but those given, which leads to the stand-in and not elsewhere."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SAEFETCH_", "NEURONPEDIA_")) and k != "NO_COLOR"}
    nowhere = "http://127.0.0.1:9"
    urls = {
        "SAEFETCH_API_URL": standin.api_url if standin else nowhere,
        "SAEFETCH_EXPORT_URL": standin.export_url if standin else nowhere,
        "SAEFETCH_REQUESTS_PER_SECOND": "5000",
    }
    path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return clean | urls | path | variables


def start(cwd: Path, *args: str, standin: Standin | None, **variables: str) -> subprocess.Popen[str]:
    """Start the real command in `cwd`."""
    return subprocess.Popen(
        [sys.executable, "-m", "saefetch", *args],
        cwd=cwd,
        env=environment(standin, **variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def end(process: subprocess.Popen[str]) -> Ended:
    """Wait for the command."""
    out, err = process.communicate(timeout=120)
    return Ended(process.returncode, out, err)


def saefetch(cwd: Path, *args: str, standin: Standin | None, **variables: str) -> Ended:
    """Run the real command in `cwd` to its end, forked unless there are variables that Python itself reads."""
    if any(name.startswith("PYTHON") for name in variables):
        return end(start(cwd, *args, standin=standin, **variables))
    status, ran = warm().run(*args, cwd=cwd, environment=environment(standin, **variables))
    return Ended(status, ran.out, ran.err)


@cache
def warm() -> Zygote:
    """Return a process that forks `saefetch`, started when it is first needed."""
    atexit.register(_ends.close)
    folder = _ends.enter_context(TemporaryDirectory(prefix="saefetch-commands-"))
    return _ends.enter_context(Zygote("saefetch", Path(folder)))


_ends = ExitStack()
"""Held here, as a forked child of Python 3.13 forgets what is registered with atexit: the folder would go with it."""


@contextmanager
def ends_soon(process: subprocess.Popen[Any], cpu_s: float = 2.0) -> Iterator[None]:
    """Allow a process, which ends in the block, so much processor time: waiting for a busy machine does not count."""
    before, reaped = sum(psutil.Process(process.pid).cpu_times()[:2]), _cpu_of_children_s()
    yield
    assert _cpu_of_children_s() - reaped - before < cpu_s


def _cpu_of_children_s() -> float:
    """Return the processor time of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def wait_until(condition: Callable[[], bool], limit_s: float = 120.0) -> None:
    """Wait for something that another process brings about."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)
