"""The outermost layer: every way to end, in one place. Stdout is for results, stderr for everything else."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from saefetch.cli.output import complain, print_json, same_command
from saefetch.errors import SaefetchError


def main() -> NoReturn:
    """Run the command line. Every error is one line on stderr, an exit status, and with --json an object on stdout."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    # pydantic would search all installed packages for plugins: tens of milliseconds in a large environment.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # its descriptor is closed
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = _run()
        sys.stdout.flush()
    except BrokenPipeError:  # `saefetch list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = 1
    sys.exit(status)


def _run() -> int:
    try:
        from saefetch.cli.app import run_app  # takes a while, in which a signal may come

        return run_app()
    except SaefetchError as exc:
        return _fail(str(exc), exc.exit_status)
    except BrokenPipeError:
        raise
    except Exception as exc:
        import traceback

        traceback.print_exc()
        return _fail(f"this is a bug of saefetch ({type(exc).__name__}); please report the lines above", 1)


def _fail(message: str, status: int) -> int:
    complain(message)
    if "--json" in sys.argv[1:]:
        print_json({"error": message, "exit_status": status})
    return status


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """Leave at once: nothing has begun that could be lost, as a download has handlers of its own.

    Not by an exception: raised in one of the import system's callbacks, Python would print it and go on.
    """
    with suppress(RuntimeError, OSError):  # in the middle of a print, or to a terminal that is gone
        _fail(f"interrupted; nothing was lost. To run it again: {same_command()}", 128 + number)
    os._exit(128 + number)
