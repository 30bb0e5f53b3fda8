"""`saefetch serve`: settings are read once, then the service runs until a signal ends it."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

from saefetch.cli.download import tune_memory
from saefetch.downloading.order import api_key
from saefetch.errors import UsageError
from saefetch.service import log
from saefetch.service.serve import Wanted, serve
from saefetch.settings import load_settings

A_MINUTE_IN_DAYS = 1 / 1440
A_CENTURY_IN_DAYS = 36525


def every(days: float | None) -> timedelta | None:
    """Return what `--refresh-every` says. Raises: UsageError."""
    if days is None:
        return None
    if not A_MINUTE_IN_DAYS <= days <= A_CENTURY_IN_DAYS:
        raise UsageError(f"--refresh-every {days:g}: expected a number of days, such as 7 or 0.5")
    return timedelta(days=days)


def run(flags: dict[str, Any], config: Path | None, wanted: Wanted, *, log_json: bool, quiet: bool) -> NoReturn:
    """Serve, and end the process with the status of the signal that ends it.

    Raises: UsageError, LockedError, StoreError.
    """
    settings = load_settings(flags, config)
    log.set_up(as_json=log_json, quiet=quiet)
    tune_memory()
    with asyncio.Runner() as runner:
        status = runner.run(serve(settings, wanted, api_key()))
        sys.stderr.flush()
        # The runner would wait for threads, one of which may be stuck in a name lookup for a long time.
        os._exit(status)
