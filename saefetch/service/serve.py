"""`saefetch serve`: the service with its HTTP face, until a signal ends it."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from aiohttp import web

from saefetch.errors import UsageError
from saefetch.service.http.app import make_app
from saefetch.service.http.guard import Guard, read_token
from saefetch.service.http.runner import make_runner
from saefetch.service.log import LOGGER
from saefetch.service.service import Service
from saefetch.service.upkeep import Upkeep
from saefetch.settings import Settings

STOP_WITHIN_S = 9.0
"""A commit takes milliseconds. What takes longer is left to the next start, as after a crash, which loses nothing."""
BACKLOG = 128


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the flags of `saefetch serve` say, beside the settings of a download."""

    host: str
    port: int
    n_jobs: int
    mirror: bool
    token_file: Path | None
    refresh_every: timedelta | None
    log_requests: bool


async def serve(settings: Settings, wanted: Wanted, api_key: str | None) -> int:
    """Serve until SIGINT or SIGTERM; return the exit status. Running jobs commit and go back to the queue.

    Raises: UsageError for a host without a token, a bad token, or an address that cannot be had; LockedError where the
    data folder has a service; StoreError where its job table cannot be used.
    """
    token = None if wanted.token_file is None else read_token(wanted.token_file)
    guard = Guard(wanted.host, token)
    caught: asyncio.Future[signal.Signals] = asyncio.get_running_loop().create_future()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, _catch, caught, number)
    async with Service(settings, n_jobs=wanted.n_jobs, api_key=api_key) as service:
        runner = make_runner(make_app(service, guard, mirror=wanted.mirror), access_log=wanted.log_requests)
        await runner.setup()
        upkeep = asyncio.create_task(Upkeep(service, wanted.refresh_every).run())
        try:
            guard.port = await _listen(runner, wanted)
            _say(service, wanted, guard.port)
            number = await caught
            LOGGER.info("stopping: what came is being committed")
            asyncio.get_running_loop().call_later(STOP_WITHIN_S, os._exit, 128 + number)
            service.close()
        finally:
            upkeep.cancel()
            await runner.cleanup()
    LOGGER.info("stopped; the jobs go on when the service is started again")
    return 128 + number


def _catch(caught: asyncio.Future[signal.Signals], number: signal.Signals) -> None:
    if caught.done():
        os._exit(128 + number)  # asked twice: at once, which is safe too
    caught.set_result(number)


async def _listen(runner: web.AppRunner, wanted: Wanted) -> int:
    """Listen, and return the port. Raises: UsageError."""
    site = web.TCPSite(runner, wanted.host, wanted.port, backlog=BACKLOG)
    try:
        await site.start()
    except (OSError, OverflowError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        raise UsageError(
            f"--host {wanted.host} --port {wanted.port}: cannot listen there: {reason}; choose another --port"
        ) from exc
    return int(runner.addresses[0][1])


def _say(service: Service, wanted: Wanted, port: int) -> None:
    host = f"[{wanted.host}]" if ":" in wanted.host else wanted.host
    counts = service.counts()
    n_waiting = counts["queued"] + counts["running"]
    jobs = f", {n_waiting:,} jobs go on" if n_waiting else ""
    LOGGER.info("listening on http://%s:%d/ for the labels in %s%s", host, port, service.data_dir, jobs)
