"""How a command prints: JSON for programs, lines for people, and no escape sequences that came with a text."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from typing import Any


def print_json(document: Any) -> None:
    """Print the one JSON object that a command with --json puts on stdout: UTF-8, whatever the locale."""
    import orjson

    try:
        text = orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n"
    except TypeError:  # a path that is not UTF-8, or a number of more than 64 bits
        text = json.dumps(document, indent=2).encode() + b"\n"
    sys.stdout.flush()
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()


def complain(message: str, program: str = "saefetch") -> None:
    """Print an error on stderr, in one line."""
    remark(f"{program}: {message}")


def remark(line: str) -> None:
    """Print a line on stderr."""
    print(printable(line), file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """Make text from elsewhere safe to print: no escape sequences, no line breaks, no overrides of direction."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text)


def bold(text: str) -> str:
    """Render text bold on a terminal that wants it."""
    return f"\x1b[1m{text}\x1b[0m" if in_colour() else text


def in_colour() -> bool:
    """Say whether stdout is a terminal that may get colours: https://no-color.org"""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def same_command(program: str = "saefetch", package: str = "saefetch") -> str:
    """Return this command as one to paste into a shell, however it was started."""
    words = [program] if shutil.which(program) else [sys.executable, "-m", package]
    return shlex.join([*words, *sys.argv[1:]])
