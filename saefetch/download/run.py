"""Download any number of SAEs: one transport, one set of slots, one display for all; a few are open at a time."""

from __future__ import annotations

import asyncio
from functools import partial

import saefetch
from saefetch.download.crawl import Slots
from saefetch.download.figures import PauseNews, words_of
from saefetch.download.job import Crew, Job
from saefetch.download.outcome import Outcome, Summary
from saefetch.names.identity import Target
from saefetch.net.transport import Transport
from saefetch.settings import Settings
from saefetch.sources.parser import Child
from saefetch.sources.unpack import Unpacker
from saefetch.terminal.progress import Display

OPEN_JOBS = 3
"""SAEs worked on at the same time: one to fetch, one to plan, one to publish."""
TICK_S = 0.2
CHILD_LOST = "the process that parses the export has ended; going on without it"


async def run_jobs(
    targets: list[Target],
    settings: Settings,
    display: Display,
    *,
    api_key: str | None = None,
    scope: range | None = None,
    refresh: bool = False,
    child: Child | None = None,
) -> list[Outcome]:
    """Download all targets; return how each one ended, in their order, also when cancelled.

    `child` parses what the export sends, and is ended in the end; where it is None, threads do it.
    """
    transport = Transport(
        settings.limits, settings.api_url, api_key=api_key, user_agent=f"saefetch/{saefetch.__version__}"
    )
    few = asyncio.Semaphore(OPEN_JOBS)
    lost = partial(display.say, CHILD_LOST)
    try:
        async with transport, Unpacker(child, lost, len(targets)) as unpacker:
            crew = Crew(settings, transport, Slots(settings.concurrency), unpacker, display, scope, refresh)

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
        display.close()


async def _tick(display: Display, transport: Transport) -> None:
    news = PauseNews()
    while True:
        display.tick(words_of(transport), news.hear(transport.paused_s))
        await asyncio.sleep(TICK_S)
