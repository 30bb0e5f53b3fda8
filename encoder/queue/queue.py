"""The queue's folder as one worker sees it: submit, claim, take back what was abandoned, say where every job is."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from encoder.errors import InputError
from encoder.queue.claim import Claim, Verdicts
from encoder.queue.spool import OWNER, STATES, Name, Spool, locked, new_token, new_worker, read, rename
from encoder.queue.ticket import Ticket, parse, tombstone
from saefetch.files.atomic import fsync_folder
from saefetch.times import utc_text


@dataclass(frozen=True, slots=True)
class Held:
    """A job in claimed/. `to` is the state that it is on its way to, if that is decided."""

    job: str
    worker: str
    attempt: int
    age_s: float
    to: str


@dataclass(frozen=True, slots=True)
class Status:
    """Where the jobs are; `failed` with the error. `foreign` are files that the queue leaves alone, as folder/name."""

    ready: list[str]
    claimed: list[Held]
    done: list[str]
    failed: dict[str, str]
    foreign: list[str]

    @property
    def is_finished(self) -> bool:
        return not self.ready and not self.claimed


class Queue:
    """A queue's folder, as one worker sees it.

    `lease_s`: a claim that was not renewed for so long is abandoned. `worker`: at most 40 letters, digits, '-' and '_'.
    `now` replaces the file system's clock, in tests. Raises: InputError where `root` is no queue, unless `create`.
    """

    def __init__(
        self,
        root: Path,
        *,
        lease_s: float = 60.0,
        max_attempts: int = 3,
        worker: str | None = None,
        now: Callable[[], float] | None = None,
        create: bool = False,
    ) -> None:
        self.root = root.absolute()
        self.lease_s = lease_s
        self.max_attempts = max_attempts
        self.worker = new_worker() if worker is None else worker
        if not re.fullmatch(OWNER, self.worker):
            raise InputError(f"worker {self.worker!r}: expected 1 to 40 letters, digits, '-' and '_'")
        if create:
            for folder in (*STATES, "inbox"):
                (self.root / folder).mkdir(parents=True, exist_ok=True)
            fsync_folder(self.root)
        elif absent := [state for state in STATES if not (self.root / state).is_dir()]:
            raise InputError(f"{root} is no queue: it has no folder {absent[0]}/; submit shards to it first")
        self._spool = Spool(self.root, now)
        self._verdicts = Verdicts(self._spool, self.worker, max_attempts)
        self._listed: deque[str] = deque()

    def submit(self, tickets: Iterable[Ticket], again: bool = False) -> int:
        """Put new jobs in ready/; return how many were. A job that the queue has is left alone, whatever its state.

        `again`: jobs in done/ and failed/ start anew, with the new ticket. Submitters on one machine wait for each
        other; on a network without locks, a job submitted twice at once may be worked on twice, with one result.
        """
        n_new = 0
        with locked(self.root):
            states = self.states()
            for ticket in tickets:
                job, state = ticket.job, states.get(ticket.job)
                if state is None:
                    self._create(job, self._fresh(ticket))
                    n_new += 1
                elif again and state in ("done", "failed"):
                    n_new += self._verdicts.move(self._spool.path(state, job), "ready", job, self._fresh(ticket))
                states[job] = "ready"
            fsync_folder(self.root / "ready")
        return n_new

    def refuse(self, ticket: Ticket, error: str) -> None:
        """Put a job that nobody can do in failed/, unless the queue has a job of this name."""
        with locked(self.root):
            if ticket.job not in self.states():
                self._create(ticket.job, replace(ticket, error=error).to_json(), "failed")

    def retry(self, jobs: Collection[str] | None = None) -> list[str]:
        """Move failed jobs, or just these, back to ready/ with no attempts counted; return which were moved.

        A job whose ticket was malformed is not moved, as there is nothing to work on: submit it again.
        """
        moved = []
        for job in self._spool.list_jobs("failed")[0]:
            if jobs is not None and job not in jobs:
                continue
            with suppress(InputError):
                ticket = self.ticket("failed", job)
                path = self._spool.path("failed", job)
                if ticket is not None and self._verdicts.move(path, "ready", job, self._fresh(ticket)):
                    moved.append(job)
        return moved

    def claim(self) -> Claim | None:
        """Take a job from ready/, or return None if there is none. By name; a job that comes back waits its turn."""
        for is_new_listing in (False, True):
            if is_new_listing:
                self._listed.extend(self._spool.list_jobs("ready")[0])
            while self._listed:
                claim = self._try_to_claim(self._listed.popleft())
                if claim is not None:
                    return claim
        return None

    def _try_to_claim(self, job: str) -> Claim | None:
        path = self._spool.path("ready", job)
        data = None
        try:
            data = read(path)
            if data is None:
                return None
            ticket = Ticket.from_json(data, job)
            if ticket.attempts >= self.max_attempts:
                error = ticket.error or f"{ticket.attempts} attempts were made, of {self.max_attempts}"
                self._verdicts.give_up(path, ticket, error, ticket.traceback)
                return None
            ticket = replace(ticket.without_outputs(), attempts=ticket.attempts + 1, worker=self.worker)
            content = ticket.to_json()
        except (InputError, PermissionError) as exc:
            self._verdicts.move(path, "failed", job, tombstone(job, data or b"", str(exc)), expected=data)
            return None
        name = Name(job, ticket.attempts, self.worker, new_token())
        grip = self._spool.enter(name, path, content, expected=data)
        return None if grip is None else Claim(self._verdicts, name, ticket, grip)

    def reclaim_expired(self) -> list[str]:
        """Take abandoned jobs back to ready/, or to failed/ after `max_attempts`, and decided ones to their end.

        Returns the jobs that were moved. Sweeps what crashes left in claimed/.
        """
        moved = []
        names, following, _ = self._spool.list_claimed()
        now = self._spool.now()
        for name in names:
            if not self._spool.is_abandoned(name, now, self.lease_s):
                continue
            if name.to:
                self._verdicts.roll_forward(name)
                moved.append(name.job)
            elif self._verdicts.reclaim(name):
                moved.append(name.job)
        for name in set(following) - set(names):
            if self._spool.is_abandoned(name, now, self.lease_s) and not self._spool.claimed(name).exists():
                self._spool.claimed(name, "next").unlink(missing_ok=True)
        return moved

    def states(self) -> dict[str, str]:
        """Return each job's state. Jobs may move meanwhile: a state is one that the job had."""
        states: dict[str, str] = {}
        for state in ("ready", "claimed", "ready", "done", "failed"):  # twice, for a job that just came back
            if state == "claimed":
                jobs = [name.job for name in self._spool.list_claimed()[0]]
            else:
                jobs = self._spool.list_jobs(state)[0]
            states.update(dict.fromkeys(jobs, state))
        return states

    def status(self) -> Status:
        """Return where every job is, each once, also while workers move them."""
        states = self.states()
        jobs = {one: sorted(job for job, state in states.items() if state == one) for one in STATES}
        names, _, foreign = self._spool.list_claimed()
        names_of = {name.job: name for name in names}
        now = self._spool.now()
        held = []
        for job in jobs["claimed"]:
            name = names_of.get(job, Name(job, 0, "", ""))  # it moved on
            held.append(Held(job, name.owner, name.attempt, self._spool.age_s(name, now) or 0.0, name.to))
        strangers = [f"claimed/{file}" for file in foreign]
        for state in ("ready", "done", "failed"):
            strangers += [f"{state}/{file}" for file in self._spool.list_jobs(state)[1]]
        failed = {job: self._error_of(job) for job in jobs["failed"]}
        return Status(jobs["ready"], held, jobs["done"], failed, strangers)

    def ticket(self, state: str, job: str) -> Ticket | None:
        """Return a job's ticket, or None if it is not in that state. Raises: InputError."""
        if state == "claimed":
            paths = [self._spool.claimed(name) for name in self._spool.list_claimed()[0] if name.job == job]
        else:
            paths = [self._spool.path(state, job)]
        data = read(paths[0]) if paths else None
        return None if data is None else Ticket.from_json(data, job)

    def _error_of(self, job: str) -> str:
        with suppress(InputError, OSError):
            return str(parse(read(self._spool.path("failed", job)) or b"{}", job).get("error") or "")
        return "the ticket cannot be read"

    def _create(self, job: str, content: bytes, state: str = "ready") -> None:
        while True:
            name = Name(job, 0, self.worker, new_token(), state)
            with self._spool.write_next(name, content):
                if rename(self._spool.claimed(name, "next"), self._spool.path(state, job)):
                    return

    def _fresh(self, ticket: Ticket) -> bytes:
        submitted_at = utc_text(datetime.fromtimestamp(self._spool.now(), UTC))
        return replace(
            ticket.without_outputs(),
            attempts=0,
            worker=None,
            submitted_at=ticket.submitted_at or submitted_at,
            error=None,
            traceback=None,
            result={},
        ).to_json()
