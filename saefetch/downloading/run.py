"""Download any number of SAEs: one transport, one set of slots, one display for all; a few are open at a time."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

from saefetch.downloading.crew import Crew, open_crew
from saefetch.downloading.figures import DOWN, PauseNews, words_of
from saefetch.downloading.job import Job
from saefetch.downloading.outcome import Outcome
from saefetch.names.identity import Target
from saefetch.net.transport import Transport
from saefetch.settings import Settings
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

    async def run(crew: Crew, number: int) -> None:
        async with few:
            outcomes[number] = await Job(crew, targets[number], number).run()

    try:
        widths = Widths(api_url=settings.api_url, export_url=settings.export_url)
        widths.expect(targets)
        async with open_crew(settings, display, widths, api_key) as crew:
            ticking = asyncio.create_task(_tick(display, crew.transport))
            crew = replace(crew, scope=scope, refresh=refresh)
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
        display.close()


async def _tick(display: Display, transport: Transport) -> None:
    news = PauseNews()
    while True:
        display.tick(words_of(transport), news.hear(transport.paused_s) or (DOWN if transport.is_down else ""))
        await asyncio.sleep(TICK_S)
