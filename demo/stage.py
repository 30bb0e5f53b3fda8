"""The demo's stage: it prints titles and commands, runs them, starts stand-ins, and checks promises."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MODULES = {"saefetch": "saefetch", "sae-encode": "encoder", "sae-dashboard": "dashboard"}
LONGEST_S = 180.0


def title(text: str) -> None:
    bold, plain = ("\x1b[1m", "\x1b[0m") if sys.stdout.isatty() else ("", "")
    print(f"\n{bold}== {text}{plain}", flush=True)


def shown(command: str, arguments: list[str]) -> list[str]:
    """Print the command as a user would type it; return it as it is run here."""
    print("$", shlex.join([command, *arguments]), flush=True)
    return [sys.executable, "-m", MODULES[command], *arguments]


def run(what: str, command: str, arguments: list[str], **options: Any) -> None:
    """Print and run a command that has to succeed; `what` names it in the message of a failure."""
    expect(what, subprocess.run(shown(command, arguments), **options).returncode == 0)


def output(command: str, arguments: list[str]) -> str:
    return subprocess.run(shown(command, arguments), stdout=subprocess.PIPE, text=True, check=True).stdout


def expect(what: str, true: bool) -> None:
    """End the demo with a line that names the broken promise `what`, unless `true`."""
    if not true:
        sys.stdout.flush()
        sys.exit(f"demo: failed: {what}")


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONGEST_S
    while not condition():
        expect("something happens", time.monotonic() < deadline)
        time.sleep(0.01)


@contextmanager
def standin(module: str, arguments: list[str], ready_file: Path) -> Iterator[dict[str, Any]]:
    """Run a stand-in in a process of its own for the block; yield the content of its ready file."""
    command = [sys.executable, "-m", module, *arguments, "--ready-file", str(ready_file)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: ready_file.is_file() or process.poll() is not None)
        expect(f"{module} starts", process.poll() is None)
        yield json.loads(ready_file.read_text())
    finally:
        process.terminate()
        process.wait()
