"""The queue as a state machine against a model that is a dictionary: several workers, late ones, dead ones, a clock."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule
from queueing import STATES, done_ticket, make_ticket, places

from encoder.errors import FencedError
from encoder.queue.claim import Claim
from encoder.queue.queue import Queue
from encoder.queue.spool import Name

JOBS = st.sampled_from(["a", "b b", "c.1.w.deadbeef"])
WORKERS = st.integers(0, 2)
LEASE_S = 60
MAX_ATTEMPTS = 2
IN_MEMORY = Path("/dev/shm")


@dataclass
class Job:
    """What the model knows of a job. `holder` is the number of the claim that has it, `to` where it is to go."""

    state: str = "ready"
    attempts: int = 0
    holder: int = 0
    renewed_at: float = 0.0
    to: str = ""
    published: int = 0  # the number of the claim whose output is there; 0: none


@dataclass(eq=False)
class Held:
    """A claim, in the hands of a worker that may be alive, late or dead: nobody knows."""

    number: int
    claim: Claim
    has_written: bool = False
    decided: Name | None = None

    @property
    def job(self) -> str:
        return self.claim.ticket.job


class QueueMachine(RuleBasedStateMachine):
    claims = Bundle("claims")

    @initialize()
    def start(self) -> None:
        self.root = Path(tempfile.mkdtemp(dir=IN_MEMORY if IN_MEMORY.is_dir() else None))
        (self.root / "out").mkdir()
        self.now = 1_700_000_000.0
        self.workers = [
            Queue(
                self.root,
                worker=f"w{index}",
                lease_s=LEASE_S,
                max_attempts=MAX_ATTEMPTS,
                now=lambda: self.now,
                create=True,
            )
            for index in range(3)
        ]
        self.model: dict[str, Job] = {}
        self.n_claims = 0

    def teardown(self) -> None:
        if hasattr(self, "root"):
            shutil.rmtree(self.root)

    # --- what people and workers do

    @rule(worker=WORKERS, job=JOBS, again=st.booleans())
    def submit(self, worker: int, job: str, again: bool) -> None:
        n_new = self.workers[worker].submit([make_ticket(job)], again)
        is_new = job not in self.model or (again and self.model[job].state in ("done", "failed"))
        assert n_new == is_new
        if is_new:
            self.model[job] = Job(published=self.model.get(job, Job()).published)

    @rule(target=claims, worker=WORKERS)
    def claim(self, worker: int) -> object:
        claim = self.workers[worker].claim()
        ready = {name for name, job in self.model.items() if job.state == "ready"}
        if claim is None:
            assert not ready
            return multiple()
        assert claim.ticket.job in ready
        job = self.model[claim.ticket.job]
        self.n_claims += 1
        job.state, job.attempts, job.holder, job.renewed_at = "claimed", job.attempts + 1, self.n_claims, self.now
        assert claim.ticket.attempts == job.attempts <= MAX_ATTEMPTS
        return Held(self.n_claims, claim)

    @rule(held=claims)
    def write(self, held: Held) -> None:
        held.claim.temporary.write_text(str(held.number))
        held.has_written = True

    @rule(held=claims)
    def renew(self, held: Held) -> None:
        if self.expect_fence(held, held.claim.renew):
            self.model[held.job].renewed_at = self.now

    @rule(held=claims)
    def check(self, held: Held) -> None:
        self.expect_fence(held, held.claim.check)

    @rule(held=claims)
    def done(self, held: Held) -> None:
        if held.decided:
            return
        if self.holds(held) and not held.claim.temporary.exists():
            with pytest.raises(FileNotFoundError):
                held.claim.done()
        elif self.expect_fence(held, held.claim.done):
            self.end(held.job, "done")

    @rule(held=claims)
    def fail(self, held: Held) -> None:
        if held.decided:  # a worker that stopped there makes no other verdict
            return
        if self.expect_fence(held, lambda: held.claim.fail("no", "Traceback ...")):
            self.end(held.job, self.after_failure(held.job))

    @rule(held=claims)
    def put_back(self, held: Held) -> None:
        if held.decided:  # a worker that stopped there makes no other verdict
            return
        if self.expect_fence(held, held.claim.put_back):
            self.model[held.job].attempts -= 1
            self.end(held.job, "ready")

    @rule(worker=WORKERS)
    def retry(self, worker: int) -> None:
        failed = sorted(name for name, job in self.model.items() if job.state == "failed")
        assert self.workers[worker].retry() == failed
        for name in failed:
            self.model[name] = Job(published=self.model[name].published)

    @rule(seconds=st.sampled_from([1, 30, 61]))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule(worker=WORKERS)
    def reclaim(self, worker: int) -> None:
        expired = [
            name for name, job in self.model.items() if job.state == "claimed" and self.now - job.renewed_at > LEASE_S
        ]
        assert sorted(self.workers[worker].reclaim_expired()) == sorted(expired)
        for name in expired:
            self.end(name, self.model[name].to or self.after_failure(name))

    # --- crashes: the worker gets as far as this, and may or may not wake up

    @rule(held=claims, to=st.sampled_from(["done", "ready", "failed"]), is_written=st.booleans())
    def decide_and_stop(self, held: Held, to: str, is_written: bool) -> None:
        """Stop right after the verdict, before or after the ticket's new content is there."""
        if held.decided or (to == "done" and not held.claim.temporary.exists()):
            return
        spool = held.claim._spool
        decided = replace(held.claim._name, to=to)
        is_put_back = to == "ready"  # after a failure it would not go there with its last attempt
        ticket = done_ticket(held.claim) if to == "done" else held.claim.ticket
        ticket = replace(ticket, attempts=ticket.attempts - is_put_back)
        if is_written:
            grip = spool.enter(decided, held.claim._path, ticket.to_json())
        elif held.claim._path.exists():
            grip = spool.write_next(decided, ticket.to_json())
            held.claim._path.rename(spool.claimed(decided))
        else:
            grip = None
        assert (grip is not None) == self.holds(held)
        if grip is not None:
            grip.close()
            job = self.model[held.job]
            job.to, job.renewed_at, held.decided = to, self.now, decided
            job.attempts -= is_put_back

    @rule(held=claims)
    def wake_up(self, held: Held) -> None:
        """Go on after the verdict, whatever the others did meanwhile."""
        if held.decided:
            held.claim._verdicts.roll_forward(held.decided)
            job = self.model[held.job]
            if job.holder == held.number and job.to:
                self.end(held.job, job.to)

    @rule(worker=WORKERS, job=JOBS)
    def die_before_claiming(self, worker: int, job: str) -> None:
        self.workers[worker]._spool.write_next(Name(job, 1, f"w{worker}", "00000000"), b"{}").close()
        self.now += LEASE_S + 1
        self.reclaim(worker)

    # --- the model

    def holds(self, held: Held) -> bool:
        job = self.model[held.job]
        return job.state == "claimed" and job.holder == held.number and not job.to

    def expect_fence(self, held: Held, act: object) -> bool:
        """Do it, and return whether it was to be allowed."""
        assert callable(act)
        if self.holds(held):
            act()
            return True
        with pytest.raises(FencedError):
            act()
        return False

    def after_failure(self, name: str) -> str:
        return "failed" if self.model[name].attempts >= MAX_ATTEMPTS else "ready"

    def end(self, name: str, state: str) -> None:
        job = self.model[name]
        if state == "done":
            job.published = job.holder
        job.state, job.holder, job.to = state, 0, ""

    @invariant()
    def every_job_is_where_the_model_has_it_and_nowhere_else(self) -> None:
        if hasattr(self, "model"):
            assert places(self.root) == {name: [job.state] for name, job in self.model.items()}
            assert self.workers[0].states() == {name: job.state for name, job in self.model.items()}

    @invariant()
    def attempts_never_exceed_the_cap(self) -> None:
        if hasattr(self, "model"):
            for state in STATES:
                for path in (self.root / state).glob("*.json"):
                    assert json.loads(path.read_bytes())["attempts"] <= MAX_ATTEMPTS

    @invariant()
    def outputs_are_of_the_claim_that_was_done(self) -> None:
        if hasattr(self, "model"):
            outputs = {path.name: path.read_text() for path in (self.root / "out").glob("*.npz")}
            assert outputs == {f"{name}.npz": str(job.published) for name, job in self.model.items() if job.published}

    @rule()
    def finish(self) -> None:
        """Whatever happened: the jobs can be done, and nothing is left over."""
        self.now += LEASE_S + 1
        self.reclaim(0)
        self.retry(0)
        while (held := self.claim(1)) and isinstance(held, Held):
            self.write(held)
            self.done(held)
        assert [list((self.root / state).iterdir()) for state in ("ready", "claimed", "failed")] == [[], [], []]
        assert {job.state for job in self.model.values()} <= {"done"}


QueueMachine.TestCase.settings = settings(
    max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
test_any_order_of_events_leaves_every_job_in_one_state = QueueMachine.TestCase
