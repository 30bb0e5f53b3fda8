"""How the demo tells its story: titles, the commands as a user would type them, and what has to be true."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Callable

MODULES = {"saefetch": "saefetch", "sae-encode": "encoder"}
LONGEST_S = 180.0


def title(text: str) -> None:
    bold, plain = ("\x1b[1m", "\x1b[0m") if sys.stdout.isatty() else ("", "")
    print(f"\n{bold}== {text}{plain}", flush=True)


def shown(command: str, arguments: list[str]) -> list[str]:
    """Print the command as a user would type it; return it as it is run here."""
    print("$", shlex.join([command, *arguments]), flush=True)
    return [sys.executable, "-m", MODULES[command], *arguments]


def output(command: str, arguments: list[str]) -> str:
    return subprocess.run(shown(command, arguments), stdout=subprocess.PIPE, text=True, check=True).stdout


def expect(what: str, true: bool) -> None:
    """End the demo with a line that says what went wrong, unless it went right."""
    if not true:
        sys.stdout.flush()
        sys.exit(f"demo: failed: {what}")


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONGEST_S
    while not condition():
        expect("something happens", time.monotonic() < deadline)
        time.sleep(0.01)
