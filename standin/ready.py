"""How a stand-in says that it listens: one JSON line on stdout and, atomically, in a file."""

import os
import sys
from pathlib import Path

import orjson


def announce(ready: dict[str, str | int], ready_file: Path | None) -> None:
    """Print `ready` and this process' id as one line; write the same to `ready_file`."""
    line = orjson.dumps({**ready, "pid": os.getpid()}).decode() + "\n"
    if ready_file:
        temporary = ready_file.with_name(f"{ready_file.name}.{os.getpid()}.tmp")
        temporary.write_text(line, encoding="utf-8")
        temporary.replace(ready_file)
    sys.stdout.write(line)
    sys.stdout.flush()
