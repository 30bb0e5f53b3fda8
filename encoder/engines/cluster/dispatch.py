"""Which worker gets which shard, and what becomes of shards whose worker is lost. Nothing here knows of Ray.

    waiting --send--> in hand --receipt: done------------------> over
       ^                 |------receipt: failed, worker lost---> waiting again, behind the others
       |                 |                                       `- after max_attempts: failed
       '-----------------'------receipt: again-----------------> waiting again, for its next SAEs

    worker: starting --card--> idle <--receipt, letter--> busy;  any of them --lost, silent--> starting;  bad card: out

Largest shards go first, so that none is begun when all others are done. Each worker is asked for a sign now and then.
One that has begun to give signs and gives none for `lease_s` is lost, whatever Ray says of it. One that gives none yet
has no room so far: nobody waits for it, but for PATIENCE leases where there is no other.
"""

from __future__ import annotations

import heapq
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from encoder.engines.cluster.crew import Crew, Event
from encoder.engines.cluster.letters import Card, Receipt, letter_of
from encoder.engines.cluster.tally import Tally
from encoder.errors import EncoderError, MismatchError
from encoder.queue.ticket import Ticket
from encoder.work.display import relay
from encoder.work.progress import Progress
from encoder.work.totals import Display, Totals

POLL_S = 0.1
SIGN_EVERY_S = 2.0
SIGNS_A_SECOND = 200
"""Of all workers together."""
PATIENCE = 5
"""Leases for which a run goes on without any worker."""
NO_WORKER = "no worker has started so far, or all are gone: others use the machines, or there are none"
MAX_LOST_IN_ROW = 5
"""How often a worker is started again that has returned no receipt in between."""


@dataclass(slots=True)
class _Task:
    """A shard to be done: `n_failed` attempts failed, and workers were lost with it on the machines `lost_on`."""

    ticket: Ticket
    size: int
    n_failed: int = 0
    n_turns: int = 0
    is_begun: bool = False
    lost_on: list[str] = field(default_factory=list)
    why_lost: str = ""


@dataclass(slots=True)
class _Worker:
    state: Literal["starting", "idle", "busy", "out"] = "starting"
    card: Card | None = None
    task: _Task | None = None
    asked_at: float | None = None
    heard_at: float | None = None
    n_lost: int = 0


class Dispatcher:
    """Has `tickets` with their `sizes` in bytes worked off by a crew. After `run`:

    `done` are jobs with what their receipts say of several SAEs, `failed` jobs with their errors, of which
    `failed_tickets` say more, and `left` jobs that are not done, as the run was stopped.
    """

    def __init__(
        self,
        crew: Crew,
        tickets: Sequence[Ticket],
        sizes: Sequence[int],
        display: Display,
        stopping: threading.Event,
        *,
        lease_s: float,
        max_attempts: int,
        tally: Tally,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._crew, self._display, self._stopping, self._now = crew, display, stopping, now
        self._lease_s, self._max_attempts, self._tally = lease_s, max_attempts, tally
        self._waiting: list[tuple[int, int, int, _Task]] = []
        self._number = 0
        for ticket, size in zip(tickets, sizes, strict=True):
            self._put(_Task(ticket, size))
        self._workers = [_Worker() for _ in range(len(crew))]
        self._last_heard = now()
        self._said: set[str] = set()
        self._why_out = ""
        self.totals = Totals()
        self.done: dict[str, dict[str, Any]] = {}
        self.failed: dict[str, str] = {}
        self.failed_tickets: dict[str, Ticket] = {}

    @property
    def left(self) -> list[str]:
        return [task.ticket.job for task in (*self._held, *(entry[-1] for entry in self._waiting))]

    @property
    def _held(self) -> list[_Task]:
        return [worker.task for worker in self._workers if worker.task is not None]

    def run(self) -> None:
        """Work until all is done or failed, or `stopping` is set.

        Raises: EncoderError where no worker is left; MismatchError where the settings do not go with the results.
        """
        while not self._stopping.is_set():
            self._share_out()
            if not self._waiting and not self._held:
                return
            for event in self._crew.wait(POLL_S):
                self._hear(event)
            self._look_after_workers()
            self._tell()
        self._crew.stop()
        for event in self._crew.wait(0):
            self._hear(event)

    def _share_out(self) -> None:
        idle = [number for number, worker in enumerate(self._workers) if worker.state == "idle"]
        while idle and self._waiting:
            task = heapq.heappop(self._waiting)[-1]
            if (n_attempts := self._attempts_of(task)) >= self._max_attempts:
                self._fail(task, n_attempts, task.why_lost)
                continue
            number = idle.pop()
            worker = self._workers[number]
            worker.state, worker.task = "busy", task
            self._crew.send(number, letter_of(replace(task.ticket, attempts=n_attempts + 1)))

    def _attempts_of(self, task: _Task) -> int:
        """Return how many attempts are used up: a machine that is gone has taken none with it."""
        return task.n_failed + sum(map(self._crew.lives, task.lost_on))

    def _put(self, task: _Task) -> None:
        self._number += 1
        heapq.heappush(self._waiting, (task.n_turns, -task.size, self._number, task))

    def _put_again(self, task: _Task) -> None:
        task.n_turns += 1
        self._put(task)

    def _hear(self, event: Event) -> None:
        worker = self._workers[event.worker]
        if worker.state == "out":
            return
        if event.kind == "lost":
            self._lose(event.worker, event.text)
            return
        worker.heard_at = self._last_heard = self._now()
        if event.kind == "sign":
            worker.asked_at = None
        if event.kind == "card":
            self._welcome(event.worker, Card.from_json(event.text))
        elif event.kind == "sign":
            sign = json.loads(event.text)
            self._say(sign["said"])
            for line in sign["progress"]:
                if worker.task is not None and worker.task.ticket.job == json.loads(line)["job"]:
                    worker.task.is_begun = True
                    relay(line, self._display)
        elif worker.task is not None:
            self._take(worker, worker.task, Receipt.from_json(event.text))

    def _say(self, lines: Sequence[str]) -> None:
        """Tell each line once, as all workers say the same of the SAE."""
        for line in lines:
            if line not in self._said:
                self._said.add(line)
                self._display.say(line)

    def _welcome(self, number: int, card: Card) -> None:
        worker = self._workers[number]
        is_first = all(other.card is None for other in self._workers)
        worker.card = card
        self._say(card.said if is_first else [line for line in card.said if line.startswith(("note", "warning"))])
        if card.error:
            self._turn_out(number, card.error)
        elif worker.state == "starting":
            worker.state = "idle"

    def _turn_out(self, number: int, why: str) -> None:
        """Go on without a worker, as it would fail whatever it gets."""
        self._workers[number].state = "out"
        self._crew.dismiss(number)
        self._why_out = why
        if any(worker.state != "out" for worker in self._workers):
            self._say([f"note: one worker less: {why}"])

    def _take(self, worker: _Worker, task: _Task, receipt: Receipt) -> None:
        if receipt.job != task.ticket.job:
            return  # of a shard that was taken away
        self._say(receipt.said)
        worker.state, worker.task, worker.n_lost = "idle", None, 0
        if receipt.state == "misfit":
            raise MismatchError(receipt.error)
        if receipt.state == "stopped":
            self._put(task)
            return
        task.ticket = replace(task.ticket, result=receipt.result)
        if receipt.state == "failed":
            task.n_failed += 1
            n_attempts = self._attempts_of(task)
            if receipt.for_good or n_attempts >= self._max_attempts:
                self._fail(task, n_attempts, receipt.error, receipt.traceback, receipt.did)
            else:
                self._end(task, f"failed in attempt {n_attempts}: {receipt.error}", receipt.did)
                self._put_again(task)
            return
        self._end(task, receipt.line, receipt.did)
        if receipt.state == "again":
            self._put_again(task)
        else:
            self.done[receipt.job] = receipt.result if task.ticket.is_of_several else {}
            self._tally.n_bytes += task.size

    def _fail(self, task: _Task, n_attempts: int, error: str, trace: str = "", did: Totals | None = None) -> None:
        job = task.ticket.job
        self.failed[job] = error
        self.failed_tickets[job] = replace(task.ticket, attempts=n_attempts, error=error, traceback=trace)
        did = did or Totals()
        did.failed = 1
        self._tally.n_failed += 1
        self._tally.n_bytes += task.size
        self._end(task, f"failed in attempt {n_attempts}", did)

    def _end(self, task: _Task, line: str, did: Totals) -> None:
        self.totals.add(did)
        if did.rows:
            if not task.is_begun:  # a small shard is over before any sign of it comes
                self._display.begin(task.ticket.job, did.rows)
            progress = Progress(did.rows, did.rows, did.rows_counted, did.nnz_counted, did.seconds)
            self._display.advance(task.ticket.job, progress)
        task.is_begun = False
        self._display.end(task.ticket.job, line, did)

    def _lose(self, number: int, why: str) -> None:
        """Give up what a worker had in hand; it starts again, unless it never gets anywhere."""
        worker = self._workers[number]
        task, card = worker.task, worker.card
        self._tally.n_lost += worker.heard_at is not None
        worker.state, worker.task, worker.asked_at, worker.heard_at = "starting", None, None, None
        host = card.host if card is not None else "the cluster"
        if task is not None:
            task.lost_on.append(card.node if card is not None else "")
            task.why_lost = f"{task.ticket.shard}: its worker on {host} was lost: {why}"
            self._end(task, f"its worker on {host} was lost: {why}; given to another", Totals())
            self._put_again(task)
        if task is None or len(task.lost_on) == 1:  # later on it is rather the shard that is at fault
            worker.n_lost += 1
        if worker.n_lost >= MAX_LOST_IN_ROW:
            self._turn_out(number, f"a worker on {host} was lost {worker.n_lost} times in a row: {why}")

    def _look_after_workers(self) -> None:
        """Ask for signs, and give up those that give none. Raises: EncoderError where there is no worker any more."""
        now, n_workers = self._now(), len(self._workers)
        every_s = min(max(SIGN_EVERY_S, n_workers / SIGNS_A_SECOND), self._lease_s / 4)
        for number, worker in enumerate(self._workers):
            if worker.state == "out":
                continue
            if worker.asked_at is None:
                if worker.heard_at is None or now - worker.heard_at >= every_s:
                    worker.asked_at = now
                    self._crew.ask(number)
            elif worker.heard_at is not None and now - worker.asked_at > self._lease_s:
                self._crew.replace(number)
                self._lose(number, f"no sign of it for {self._lease_s:g} s")
        if all(worker.state == "out" for worker in self._workers):
            raise EncoderError(f"no worker is left: {self._why_out}")
        waited_s = now - self._last_heard
        if waited_s > PATIENCE * self._lease_s:
            raise EncoderError(f"{NO_WORKER}; finished shards are safe, start it again when there is room")
        if waited_s > self._lease_s / 4:
            self._say([f"note: {NO_WORKER}; waiting for {PATIENCE * self._lease_s:g} s"])

    def _tell(self) -> None:
        n_over = len(self.done) + len(self.failed)
        self._tally.count(sum(worker.heard_at is not None for worker in self._workers))
        self._display.overall(n_over, n_over + len(self._waiting) + len(self._held))
        self._display.tick(self._tally.words())
