"""A warm process that forks a download for each line on its stdin, and kills it at a chosen system call.

In: `{"crash_at": n, "arguments": {...}}`. Out: `{"killed": bool, "calls": n}`. Runs with `crash_shim.c` preloaded.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from saefetch.download import run_jobs
from saefetch.identity import Target
from saefetch.progress import Quiet
from saefetch.settings import Settings


def download_and_exit(crash_at: int, target: dict[str, Any], settings: dict[str, Any], refresh: bool) -> None:
    shim = ctypes.CDLL(None)
    shim.crash_at(crash_at)
    everything = Settings(**settings | {"data_dir": Path(settings["data_dir"])})
    (outcome,) = asyncio.run(run_jobs([Target(**target)], everything, Quiet(), refresh=refresh))
    os._exit(outcome.exit_status)


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if not child:
            try:
                download_and_exit(**order)
            finally:
                os._exit(99)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print(json.dumps({"killed": killed, "status": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    main()
