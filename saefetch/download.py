"""Download any number of SAEs: one transport, one set of slots, one display for all; a few are open at a time."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import saefetch
from saefetch.crawl import Slots
from saefetch.identity import Target
from saefetch.job import Crew, Job
from saefetch.outcome import Outcome, Summary
from saefetch.progress import Display
from saefetch.settings import Settings
from saefetch.transport import Transport

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
    threads = ThreadPoolExecutor(2, thread_name_prefix="unpack")
    transport = Transport(
        settings.limits, settings.api_url, api_key=api_key, user_agent=f"saefetch/{saefetch.__version__}"
    )
    few = asyncio.Semaphore(OPEN_JOBS)
    try:
        async with transport:
            crew = Crew(settings, transport, Slots(settings.concurrency), threads, display, scope, refresh)

            async def run(target: Target, priority: int) -> Outcome:
                try:
                    async with few:
                        return await Job(crew, target, priority).run()
                except asyncio.CancelledError:  # while it was waiting for its turn
                    return Outcome(target, Summary(target.neuronpedia_id, settings.source), interrupted=True)

            ticking = asyncio.create_task(_tick(display, transport))
            jobs = [asyncio.create_task(run(target, number)) for number, target in enumerate(targets)]
            try:
                await asyncio.wait(jobs)
            except asyncio.CancelledError:
                for job in jobs:
                    job.cancel()
                await asyncio.wait(jobs)
            finally:
                ticking.cancel()
            return [job.result() for job in jobs]
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        display.close()


async def _tick(display: Display, transport: Transport) -> None:
    while True:
        display.tick(transport)
        await asyncio.sleep(TICK_S)
