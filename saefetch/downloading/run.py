"""Download any number of SAEs: one transport, one set of slots, one display for all; a few are open at a time."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import saefetch
from saefetch.downloading.crew import Crew
from saefetch.downloading.figures import DOWN, PauseNews, words_of
from saefetch.downloading.job import Job
from saefetch.downloading.outcome import Outcome
from saefetch.downloading.work import Slots
from saefetch.names.identity import Target
from saefetch.net.transport import Transport
from saefetch.settings import Settings
from saefetch.sources.export import N_THREADS
from saefetch.sources.width import Widths
from saefetch.terminal.progress import Display

OPEN_JOBS = 3
"""SAEs worked on at the same time: one to fetch, one to plan, one to publish."""
TICK_S = 0.2


async def run_jobs(
    targets: list[Target],
    settings: Settings,
    display: Display,
    *,
    api_key: str | None = None,
    scope: range | None = None,
    refresh: bool = False,
) -> list[Outcome]:
    """Download all targets; return how each one ended, in their order, also when cancelled."""
    outcomes = [Outcome.not_begun(target, settings.source) for target in targets]
    few = asyncio.Semaphore(OPEN_JOBS)
    threads = ThreadPoolExecutor(N_THREADS, thread_name_prefix="unpack")
    transport = Transport(
        settings.limits,
        settings.api_url,
        api_key=api_key,
        user_agent=f"saefetch/{saefetch.__version__}",
        now=asyncio.get_running_loop().time,
    )

    async def run(crew: Crew, number: int) -> None:
        async with few:
            outcomes[number] = await Job(crew, targets[number], number).run()

    try:
        async with transport:
            widths = Widths(targets, api_url=settings.api_url, export_url=settings.export_url)
            crew = Crew(settings, transport, Slots(settings.concurrency), threads, display, widths, scope, refresh)
            ticking = asyncio.create_task(_tick(display, transport))
            jobs = [asyncio.create_task(run(crew, number)) for number in range(len(targets))]
            try:
                with suppress(asyncio.CancelledError):
                    await asyncio.wait(jobs)
            finally:
                for job in jobs:
                    job.cancel()
                await asyncio.wait(jobs)
                ticking.cancel()
            for job in jobs:
                if not job.cancelled():
                    job.result()
            return outcomes
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        display.close()


async def _tick(display: Display, transport: Transport) -> None:
    news = PauseNews()
    while True:
        display.tick(words_of(transport), news.hear(transport.paused_s) or (DOWN if transport.is_down else ""))
        await asyncio.sleep(TICK_S)
