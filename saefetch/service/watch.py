"""Watch jobs of a service: its events move the progress display of `download`, until every job has ended.

A stream that breaks is opened again after the last event that was heard, and each open job is asked for once, so that
nothing is missed over a restart of the service, which may take as long as it likes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from saefetch.downloading.figures import begin_line
from saefetch.errors import BrokenBodyError, ServerError, TimedOutError, UnreachableError
from saefetch.service.client import Client, Job, sae_name
from saefetch.terminal.board import Plan
from saefetch.terminal.progress import Display

AGAIN_S, AGAIN_CAP_S = 0.25, 5.0
TICK_S = 0.2
ENDED = ("done", "failed", "cancelled")
AWAY = "waiting for the service, which is being restarted or out of reach; Ctrl-C ends watching only"


def plan_of(jobs: Sequence[Job]) -> Plan:
    """Return what is known of the jobs beforehand."""
    n_features = sum(job.get("total_features") or 0 for job in jobs)
    return Plan("features", "SAEs", len(jobs), n_features, "waiting for a free slot", "writing the files")


class Watched:
    """Jobs as they were last heard of, and the display that shows them. What has ended is not heard of again."""

    def __init__(self, jobs: Sequence[Job], display: Display) -> None:
        self._jobs = {job["id"]: job | {"state": "unheard"} for job in jobs}
        self._display = display
        self._begun: set[str] = set()
        self._told: dict[str, str] = {}
        self.pause = ""
        for job in sorted(jobs, key=lambda job: job["state"] not in ENDED):  # an SAE may have an older, ended job
            self.hear(job)

    @property
    def jobs(self) -> list[Job]:
        return list(self._jobs.values())

    @property
    def open_ids(self) -> list[str]:
        return [number for number, job in self._jobs.items() if job["state"] not in ENDED]

    def hear(self, job: Job) -> None:
        """Show what is new of a job, if it is one of ours that has not ended."""
        number, before = job["id"], self._jobs.get(job["id"])
        if before is None or before["state"] in ENDED:
            return
        self._jobs[number] = job
        display, name = self._display, sae_name(job)
        if job["state"] in ENDED:
            display.end(name)
        elif job["state"] == "queued":
            if job.get("error") and job["error"] != self._told.get(number):
                self._told[number] = job["error"]
                display.say(f"{name}: waits: {job['error']}")
        elif total := job.get("total_features"):
            done = _done(job)
            if number in self._begun:
                display.advance(name, done)
            else:
                display.begin(name, total, done, line=begin_line(total, done), short=str(job.get("sae_id", "")))
                self._begun.add(number)

    def tick(self) -> None:
        """Show the run's figures, as far as the service tells them."""
        n_requests, n_retries = (sum(job.get(name) or 0 for job in self.jobs) for name in ("requests", "retries"))
        words = [f"{n_requests:,} requests"] if n_requests else []
        words += [f"{n_retries:,} {'retry' if n_retries == 1 else 'retries'}"] if n_retries else []
        self._display.tick(words, self.pause)


async def watch(
    client: Client, jobs: Sequence[Job], display: Display, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
) -> list[Job]:
    """Show jobs until all have ended, and return them as they ended.

    Raises: what the client raises, but for a service that is out of reach, which is waited for.
    """
    watched = Watched(jobs, display)
    ticking = asyncio.create_task(_tick(watched))
    try:
        await _hear_all(client, watched, sleep)
    finally:
        ticking.cancel()
    return watched.jobs


async def _hear_all(client: Client, watched: Watched, sleep: Callable[[float], Awaitable[object]]) -> None:
    last, wait_s = "", AGAIN_S
    while watched.open_ids:
        try:
            async with client.events(last) as events:
                for number in watched.open_ids:  # after the stream is open, so that no change falls between the two
                    watched.hear(await client.job(number))
                watched.pause = ""
                if not watched.open_ids:
                    return
                async for event in events:
                    last, wait_s = event.id or last, AGAIN_S
                    if event.job is not None:
                        watched.hear(event.job)
                        if not watched.open_ids:
                            return
        except (UnreachableError, BrokenBodyError, TimedOutError, ServerError):
            watched.pause = AWAY
        await sleep(wait_s)
        wait_s = min(2 * wait_s, AGAIN_CAP_S)


async def _tick(watched: Watched) -> None:
    while True:
        watched.tick()
        await asyncio.sleep(TICK_S)


def _done(job: Job) -> int:
    """Return how many features are accounted for; older events may lack the count."""
    done = job.get("done")
    return int(done if done is not None else (job.get("successful") or 0) + (job.get("missing") or 0))
