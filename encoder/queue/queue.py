"""The directory queue: which moves a job may make, who makes them, and why a late worker cannot do harm.

                     claim                          done                               roll forward
    submit -> ready ------> claimed  (X.json) ------------> claimed (X.to-done.json)  -------------> done
                ^              |  |
                |              |  |  fail, put_back; abandoned: reclaim
                |              |  +---------------------------> claimed (Y.to-ready.json)  --------> ready
                |              +------------------------------> claimed (Y.to-failed.json) --------> failed
                +------ claimed (Y.to-ready.json) <-- retry, submit(again=True) -- failed, done

X is the claim's name: job, attempt, worker and a random token. Y is a name of whoever decides. `spool.py` has the two
rules for moves: one .json per job, only ever renamed; new content comes by one rename that nobody can do twice.

**The verdict is one rename.** From X.json there is one way out: a rename by its worker (done, fail, put_back) or by
someone who found it abandoned (reclaim). One succeeds; the others get ENOENT, and that is the fence: `FencedError`.
There is no moment between a check and an act: the rename is both. After it, nothing is left to decide. What remains
to be done is in the name and in the ticket; anybody can do it, any number of times, in any order with others:

    X.to-done    rename <out>.<claim>.tmp over <out>, unless <out> is that file already; fsync its folder;
                 rename X.to-done.json to done/<job>.json
    Y.to-ready   remove temporary outputs of claims that are over; rename Y.to-ready.json to ready/<job>.json
    Y.to-failed  the same, to failed/<job>.json

**A late worker cannot overwrite its successor's output.** A temporary output is named after its claim, so it is nobody
else's. It gets the name <out> only after X.json became X.to-done.json. A job whose claim got there goes to done/ and
nowhere else: it has no successor until someone submits it again, which can only be after done/<job>.json, that is after
the temporary output was renamed. It has been used up then: a worker that wakes up with that rename still to do gets
ENOENT. A job whose claim was taken away never gets to X.to-done: its worker is fenced before it can touch <out>.
The exception, an output that cannot get its name (a folder is there, somebody removed it), is given back only once the
temporary output is gone, so that nobody can publish it after all.

**A crash between any two steps** leaves the one .json in one folder, and:

    submit   .next written                 the job was not submitted; the .next is swept
    claim    .next written                 the job is still in ready/; the .next is swept
             moved to X.json               claimed; when abandoned, it goes back; the attempt counts
             content renamed over X.json   the same
    work     temporary output              the same
    verdict  .next written                 the same; the .next is swept
             moved to X.to-done, Y.to-...  decided; when abandoned, anyone takes it to its end (`reclaim_expired`)
             output renamed                the same
             moved to its state            ended

A temporary output whose claim is over is nobody's. What a late worker wrote, it removes when it is fenced; if it is
killed before, the job's next move does.

What makes a state last is fsynced before the next step relies on it: the ticket's content and the temporary output
before the verdict, the verdict before <out> gets its name, <out> before done/. A claim is not fsynced: if power loss
undoes it, the job is in ready/, where it belongs, as its worker is dead too.

At least once: a job may be worked on twice (a worker that is slow to notice), it is published once.
"""

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
from encoder.queue.spool import OWNER, STATES, Name, Spool, new_token, new_worker, read, rename
from encoder.queue.ticket import Ticket, parse, tombstone
from saefetch.files.atomic import fsync_folder


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
        with self._spool.locked():
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
            ticket = replace(ticket, attempts=ticket.attempts + 1, worker=self.worker)
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

    def _create(self, job: str, content: bytes) -> None:
        while True:
            name = Name(job, 0, self.worker, new_token(), "ready")
            with self._spool.write_next(name, content):
                if rename(self._spool.claimed(name, "next"), self._spool.path("ready", job)):
                    return

    def _fresh(self, ticket: Ticket) -> bytes:
        submitted_at = datetime.fromtimestamp(self._spool.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return replace(
            ticket,
            attempts=0,
            worker=None,
            submitted_at=ticket.submitted_at or submitted_at,
            error=None,
            traceback=None,
            result={},
        ).to_json()
