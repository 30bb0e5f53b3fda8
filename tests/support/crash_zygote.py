"""A warm process that forks a download for each line on its stdin; the fork dies at a chosen system call.

In: `{"crash_at": n, "target": {...}, "settings": {...}, "refresh": bool}`; Out: the exit status, -9 for a crash. Runs
with `crash_shim.c` preloaded. The first line's download is not forked and not killed: it warms up.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import sys
from pathlib import Path
from typing import Any

from saefetch.downloading.run import run_jobs
from saefetch.names.identity import Target
from saefetch.settings import Settings
from saefetch.terminal.progress import Display


def download(crash_at: int, target: dict[str, Any], settings: dict[str, Any], refresh: bool) -> int:
    ctypes.CDLL(None).crash_at(crash_at)
    everything = Settings(**settings | {"data_dir": Path(settings["data_dir"])})
    (outcome,) = asyncio.run(run_jobs([Target(**target)], everything, Display(), refresh=refresh))
    return outcome.exit_status


def in_a_fork(order: dict[str, Any]) -> int:
    child = os.fork()
    if not child:
        try:
            os._exit(download(**order))
        finally:
            os._exit(99)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def main() -> None:
    print(download(**json.loads(sys.stdin.readline())), flush=True)
    gc.freeze()
    for line in sys.stdin:
        print(in_a_fork(json.loads(line)), flush=True)


if __name__ == "__main__":
    main()
