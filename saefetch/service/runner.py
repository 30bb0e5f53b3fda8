"""Works off the queued jobs, a few at a time, by the same code as `saefetch download`.

A job's place in the queue is its id, which is also its priority for the slots of the transport, so that later jobs
never starve the first. A job whose SAE another process has stays queued, says who has it, and takes no place.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from saefetch.downloading.crew import Crew
from saefetch.downloading.job import Job as Download
from saefetch.downloading.outcome import Outcome, Summary
from saefetch.errors import LockedError, StoreError
from saefetch.files.lock import holder
from saefetch.service.errors import ConflictError
from saefetch.service.log import LOGGER
from saefetch.service.rows import Job
from saefetch.service.shapes import JobState
from saefetch.service.table import JobTable
from saefetch.terminal.progress import Display

LOOK_AGAIN_S = 2.0
"""How often a job that another process keeps waiting looks whether that process is gone; and how often a change that
the disk refused is written again."""
PROGRESS_EVERY_S = 1.0
_COUNTS = ("total_features", "successful", "missing", "failed", "with_descriptions", "resumed", "unexplained")


@dataclass(frozen=True, slots=True)
class _Running:
    download: asyncio.Task[Outcome]
    ending: asyncio.Task[None]


class Runner:
    """`n_jobs` run at a time. `now` gives the time as the table has it; `changed` hears of every change."""

    def __init__(
        self, table: JobTable, crew: Crew, n_jobs: int, *, now: Callable[[], str], changed: Callable[[], None]
    ) -> None:
        self._table, self._crew, self._n_jobs = table, crew, n_jobs
        self._now, self._changed = now, changed
        self._running: dict[int, _Running] = {}
        self._wake = asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        """Hear that a job was queued, or that a place is free."""
        self._wake.set()

    async def run(self) -> None:
        """Start jobs until this is cancelled."""
        while True:
            self._wake.clear()
            some_wait = True
            with suppress(StoreError):  # the disk is full: the jobs that run say so
                some_wait = self._start_some()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), LOOK_AGAIN_S if some_wait else None)

    async def stop(self) -> None:
        """Put the running jobs back into the queue, after what came is committed."""
        self._stopping = True
        running = list(self._running.values())
        for job in running:
            job.download.cancel()
        if running:
            await asyncio.wait([job.ending for job in running])

    async def cancel(self, job: Job) -> None:
        """Cancel a job that is queued or running, and wait until it has ended.

        Raises: ConflictError where it ended by itself meanwhile.
        """
        running = self._running.get(job.id)
        if running is None:
            self._table.end(job.id, "cancelled", self._now(), None, None)
            self._changed()
            return
        self._table.cancelling(job.id)
        running.download.cancel()
        await asyncio.wait([running.ending])
        ended = self._table.get(job.id)
        if ended is None or ended.state != "cancelled":
            raise ConflictError(f"job {job.id} ended before it could be cancelled", str(job.id))

    def _start_some(self) -> bool:
        """Start queued jobs, the first ones first, while there are places; return whether one of them has to wait."""
        some_wait = False
        for job in self._table.queued() if len(self._running) < self._n_jobs else ():
            if len(self._running) >= self._n_jobs or self._stopping:
                break
            if job.id in self._running:
                continue
            words = self._who_has(job)
            if words is None:
                self._start(job)
            else:
                some_wait = True
                self._hold(job, words)
        return some_wait

    def _who_has(self, job: Job) -> str | None:
        folder = job.target.folder(self._crew.settings.data_dir)
        pid = holder(folder)
        if pid is None:
            return None
        return f"waits for another process (pid {pid}), which is downloading this SAE"

    def _hold(self, job: Job, words: str) -> None:
        if job.error != words:
            self._table.hold(job.id, words)
            self._changed()
            LOGGER.info("job %d %s", job.id, words, extra={"job": str(job.id)})

    def _start(self, job: Job) -> None:
        wish, crew = job.wish, self._crew
        self._table.start(job.id, self._now())
        self._changed()
        LOGGER.info("job %d runs: %s %s", job.id, wish.release, wish.sae_id, extra={"job": str(job.id)})
        crew = replace(
            crew,
            settings=crew.settings.model_copy(update={"source": wish.source}),
            display=_Progress(job.id, self._table, self._changed),
            refresh=wish.looks == "all",
            relist=wish.looks == "changed",
        )
        download = asyncio.create_task(Download(crew, job.target, job.id).run())
        self._running[job.id] = _Running(download, asyncio.create_task(self._end(job, download)))

    async def _end(self, job: Job, download: asyncio.Task[Outcome]) -> None:
        """Wait for a download, and write down how it ended; where the disk refuses that, again and again."""
        await asyncio.wait([download])
        while True:
            try:
                self._settle(job, download)
                break
            except StoreError as exc:
                LOGGER.error("job %d: %s", job.id, exc, extra={"job": str(job.id)})
                if self._stopping:
                    break  # it is still running in the table, so the next service takes it up
                await asyncio.sleep(LOOK_AGAIN_S)
        del self._running[job.id]
        self._changed()
        self.wake()

    def _settle(self, job: Job, download: asyncio.Task[Outcome]) -> None:
        row = self._table.get(job.id)
        cancelling = row is not None and row.cancelling
        state, error, result = _verdict(job, download, cancelling=cancelling)
        if state == "queued":
            self._table.hold(job.id, error)
        else:
            self._table.end(job.id, state, self._now(), error, result)
        level = logging.WARNING if state == "failed" else logging.INFO
        LOGGER.log(level, "job %d %s%s", job.id, state, f": {error}" if error else "", extra={"job": str(job.id)})


def _verdict(
    job: Job, download: asyncio.Task[Outcome], *, cancelling: bool
) -> tuple[JobState, str | None, dict[str, Any] | None]:
    """Return the state that follows from how the download ended, its error and its counts."""
    if download.cancelled():  # before it began
        return ("cancelled" if cancelling else "queued"), None, None
    bug = download.exception()
    if bug is not None:
        LOGGER.error("job %d: a bug of saefetch", job.id, exc_info=bug, extra={"job": str(job.id)})
        return "failed", f"this is a bug of saefetch ({type(bug).__name__}); its log has the lines to report", None
    outcome = download.result()
    result = counts_of(outcome.summary)
    if outcome.interrupted:
        return ("cancelled" if cancelling else "queued"), None, result
    if isinstance(outcome.cause, LockedError):
        return "queued", outcome.error, None
    if outcome.exit_status:
        return "failed", outcome.error, result
    return "done", None, result


def counts_of(summary: Summary) -> dict[str, Any]:
    """Return the keys of `download --json`; the counts are None where the number of features is not known."""
    counts = asdict(summary)
    return counts if summary.total_features else counts | dict.fromkeys(_COUNTS)


class _Progress(Display):
    """Writes a job's progress down, at most once a second."""

    def __init__(self, job_id: int, table: JobTable, changed: Callable[[], None]) -> None:
        super().__init__()
        self._job_id, self._table, self._changed = job_id, table, changed
        self._told_at = float("-inf")
        self._loop = asyncio.get_running_loop()

    def begin(self, name: str, total: int, done: int = 0, *, line: str = "", short: str = "") -> None:
        super().begin(name, total, done, line=line, short=short)
        self._tell(name)

    def advance(self, name: str, done: int, text: str = "") -> None:
        super().advance(name, done, text)
        if self._loop.time() >= self._told_at + PROGRESS_EVERY_S:
            self._tell(name)

    def _tell(self, name: str) -> None:
        item = self.board.open[name]
        self._told_at = self._loop.time()
        self._table.progress(self._job_id, item.done, item.total)
        self._changed()
