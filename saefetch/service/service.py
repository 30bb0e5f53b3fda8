"""The service without its face: a job table, the runner that works it off, and who waits for news."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType

from saefetch.downloading.crew import Crew, open_crew
from saefetch.downloading.run import OPEN_JOBS
from saefetch.errors import StoreError, UsageError
from saefetch.files.lock import lock_folder
from saefetch.net.transport import Transport
from saefetch.service.errors import ClosingError, ConflictError, NoSuchJobError
from saefetch.service.rows import Job, Wish
from saefetch.service.runner import Runner
from saefetch.service.shapes import ENDED, STATES, Event, JobObject
from saefetch.service.table import Clash, JobTable
from saefetch.service.wishes import wishes_of
from saefetch.settings import Settings
from saefetch.sources.width import Widths
from saefetch.terminal.progress import Display
from saefetch.times import utc_now, utc_text

KEPT_DAYS = 90
MAX_ID = 1 << 60
EVENTS_AT_ONCE = 500


class Service:
    """One data folder's service; as an async context manager it holds the folder and works off its jobs.

    Leaving the block puts running jobs back into the queue, with what they fetched committed. `n_jobs` run at a time.

    Raises: LockedError where another service has the folder; StoreError where its table cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        n_jobs: int = OPEN_JOBS,
        api_key: str | None = None,
        now: Callable[[], str] = utc_now,
    ) -> None:
        self.settings, self.data_dir = settings, settings.data_dir
        self._n_jobs, self._api_key, self._now = n_jobs, api_key, now
        self._changed: asyncio.Future[None] | None = None
        self._closing = False

    async def __aenter__(self) -> Service:
        async with AsyncExitStack() as stack:
            _make(self.data_dir)
            stack.enter_context(lock_folder(self.data_dir, "is the service of this folder; stop it first"))
            self._table = JobTable.open(self.data_dir)
            stack.callback(self._table.close)
            self._table.recover(self._now())
            self.forget_old_jobs()
            widths = Widths(api_url=self.settings.api_url, export_url=self.settings.export_url)
            crew = await stack.enter_async_context(open_crew(self.settings, Display(), widths, self._api_key))
            self._begin(crew)
            stack.push_async_callback(self._end)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def _begin(self, crew: Crew) -> None:
        self._loop = asyncio.get_running_loop()
        self._crew, self._last_progress = crew, self._loop.time()
        self._runner = Runner(self._table, crew, self._n_jobs, now=self._now, changed=self._tell)
        self._running = asyncio.create_task(self._runner.run())

    async def _end(self) -> None:
        self.close()
        self._running.cancel()
        await asyncio.wait([self._running])
        await self._runner.stop()
        self._tell()

    def close(self) -> None:
        """Take no more jobs, and end the streams of events."""
        self._closing = True
        self._tell()

    # -- jobs --------------------------------------------------------------------------------------------------------

    def submit(self, body: object) -> tuple[list[JobObject], bool]:
        """Queue a job for each SAE that the body of a request means; return the jobs, and whether any is new.

        Raises: UsageError for a wrong body; ConflictError where an SAE has a job of other options that has not ended;
        ClosingError where the service is being stopped.
        """
        return self.queue(wishes_of(body, self.settings))

    def queue(self, wishes: list[Wish]) -> tuple[list[JobObject], bool]:
        """Queue a job for each wish; see `submit`."""
        self._check_open()
        try:
            jobs, n_new = self._table.submit(wishes, self._now())
        except Clash as exc:
            job = exc.job
            words = f"job {job.id} is {job.state} for {job.wish.release} {job.wish.sae_id} with other options"
            raise ConflictError(f"{words}; cancel it, or wait for its end", str(job.id)) from None
        self._crew.widths.expect([job.target for job in jobs])
        if n_new:
            self._tell()
            self._runner.wake()
        return [job.object for job in jobs], n_new > 0

    def jobs(
        self, state: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> tuple[list[JobObject], str | None]:
        """Return a page of jobs, the latest first, and the cursor of the next page.

        Raises: UsageError for an unknown state, a limit outside 1 to 1,000, or a cursor that was not given out.
        """
        if state is not None and state not in STATES:
            raise UsageError(f"state {state[:100]!r}: expected one of {', '.join(STATES)}")
        if not 1 <= limit <= 1000:
            raise UsageError(f"limit {limit}: expected a number from 1 to 1000")
        before = None if cursor is None else _number(cursor)
        if cursor is not None and before is None:
            raise UsageError(f"cursor {cursor[:100]!r}: expected the value of `next` of the page before")
        jobs = self._table.page(state, limit + 1, before)
        return [job.object for job in jobs[:limit]], str(jobs[limit - 1].id) if len(jobs) > limit else None

    def job(self, job_id: str) -> JobObject:
        """Raises: NoSuchJobError."""
        return self._find(job_id).object

    async def cancel(self, job_id: str) -> JobObject:
        """Cancel a job and wait until it has ended. What it fetched stays.

        Raises: NoSuchJobError; ConflictError where the job has ended.
        """
        job = self._find(job_id)
        if job.state in ENDED:
            raise ConflictError(f"job {job_id} has ended: it is {job.state}", job_id)
        await self._runner.cancel(job)
        self._runner.wake()
        return self.job(job_id)

    def retry(self, job_id: str) -> JobObject:
        """Queue a job again that failed or was cancelled.

        Raises: NoSuchJobError; ConflictError where the job is in another state, or its SAE has another job by now;
        ClosingError where the service is being stopped.
        """
        self._check_open()
        job = self._find(job_id)
        if job.state not in ("failed", "cancelled"):
            raise ConflictError(f"job {job_id} is {job.state}; only failed and cancelled jobs are tried again", job_id)
        try:
            job = self._table.retry(job.id)
        except Clash as exc:
            other = exc.job
            raise ConflictError(f"job {other.id} is {other.state} for the same SAE", str(other.id)) from None
        self._tell()
        self._runner.wake()
        return job.object

    def _find(self, job_id: str) -> Job:
        number = _number(job_id)
        job = None if number is None else self._table.get(number)
        if job is None:
            raise NoSuchJobError(f"there is no job {job_id[:100]!r}; ended jobs are kept for {KEPT_DAYS} days")
        return job

    def _check_open(self) -> None:
        if self._closing:
            raise ClosingError("the service is being stopped; ask again when it has been started again")

    def last_look(self, folder: str) -> str | None:
        """Return when the latest job of an SAE ended; `folder` is `<release>/<id>` as on disk."""
        return self._table.last_end(folder)

    def forget_old_jobs(self) -> None:
        """Delete the jobs that ended over 90 days ago."""
        now = datetime.fromisoformat(self._now())
        self._table.forget(utc_text(now - timedelta(days=KEPT_DAYS)))

    # -- news --------------------------------------------------------------------------------------------------------

    async def events(self, last_id: int | None = None) -> AsyncIterator[Event]:
        """Yield what happens from now on, or since the event `last_id`, until the service stops.

        Where events since `last_id` are not kept any more, the first event is a `reset`, and every job follows once.
        Of these only the last one has the latest id, so that a reader who is cut off in between gets all of it again.
        """
        oldest, latest = self._table.event_ids
        at = latest if last_id is None else last_id
        if at > latest or at < oldest - 1:
            for event in self._everything(max(0, oldest - 2), latest):
                yield event
            at = latest
        while not self._closing:
            changed = self._next_change()
            events = self._table.events(at, EVENTS_AT_ONCE)
            for event in events:
                at = event["id"]
                yield event
            if not events:
                await asyncio.shield(changed)

    def _everything(self, before: int, latest: int) -> list[Event]:
        jobs = reversed(self._table.page(None, MAX_ID, None))
        events: list[Event] = [{"id": before, "kind": "reset", "data": None}]
        events += [{"id": before, "kind": "job", "data": job.object} for job in jobs]
        events[-1]["id"] = latest
        return events

    def _next_change(self) -> asyncio.Future[None]:
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        return self._changed

    def _tell(self) -> None:
        """Wake everybody who waits for events."""
        self._last_progress = self._loop.time()
        changed, self._changed = self._changed, None
        if changed is not None:
            changed.set_result(None)

    # -- figures -----------------------------------------------------------------------------------------------------

    @property
    def transport(self) -> Transport:
        return self._crew.transport

    @property
    def idle_s(self) -> float:
        """Seconds since the last progress of any job."""
        return self._loop.time() - self._last_progress

    def counts(self) -> dict[str, int]:
        """Return the number of jobs by state."""
        return self._table.counts()

    def features(self) -> dict[str, int]:
        """Return the number of features by state, over the latest count of each SAE that had a job."""
        return self._table.features()

    def is_ready(self) -> tuple[str, str]:
        """Say how the store and the server that labels come from are; "ok" where nothing is wrong."""
        store, upstream = "ok", "ok"
        try:
            self._table.counts()
        except StoreError as exc:
            store = str(exc)
        if self.transport.is_down:
            upstream = "fails or is being restarted"
        elif self.transport.paused_s:
            upstream = f"asks to wait for {self.transport.paused_s:.0f} s more"
        return store, upstream


def _make(data_dir: Path) -> None:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise StoreError(f"{data_dir}: cannot be made: {exc.strerror}; choose another --data-dir") from exc


def _number(text: str) -> int | None:
    """Return the number that an id or a cursor stands for; None where it is none."""
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        return None
    return int(text)
