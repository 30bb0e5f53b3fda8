"""What all jobs share, in a run of `saefetch download` or in the service: one transport, one set of slots."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass

import saefetch
from saefetch.downloading.work import Slots
from saefetch.net.transport import Transport
from saefetch.settings import Settings
from saefetch.sources.export import N_THREADS
from saefetch.sources.width import Widths
from saefetch.terminal.progress import Display


@dataclass(frozen=True, slots=True)
class Crew:
    """`threads` unpack and parse the export. `scope` are the features asked for, None for all.

    `refresh` asks for everything again. `relist` asks an SAE that is complete for the export's objects that have
    changed, and for nothing else.
    """

    settings: Settings
    transport: Transport
    slots: Slots
    threads: Executor
    display: Display
    widths: Widths
    scope: range | None = None
    refresh: bool = False
    relist: bool = False


@asynccontextmanager
async def open_crew(settings: Settings, display: Display, widths: Widths, api_key: str | None) -> AsyncIterator[Crew]:
    """Open the transport, and what else jobs share. When the block ends, no thread is waited for."""
    threads = ThreadPoolExecutor(N_THREADS, thread_name_prefix="unpack")
    transport = Transport(
        settings.limits,
        settings.api_url,
        api_key=api_key,
        user_agent=f"saefetch/{saefetch.__version__}",
        now=asyncio.get_running_loop().time,
    )
    try:
        async with transport:
            yield Crew(settings, transport, Slots(settings.concurrency), threads, display, widths)
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
