"""Who gets which shard on a cluster, and what becomes of shards whose worker is lost: without a cluster, and at once.

`Cluster` is a crew of workers that do what a test says, under a clock that moves when nothing happens.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import pytest

from encoder.engines.cluster.crew import Event
from encoder.engines.cluster.dispatch import MAX_LOST_IN_ROW, PATIENCE, Dispatcher
from encoder.engines.cluster.letters import MAX_PIECE_CHARACTERS, Card, Receipt, brief_of, letter_of, ticket_of
from encoder.engines.cluster.tally import Tally
from encoder.errors import EncoderError, MismatchError
from encoder.options import Options
from encoder.queue.ticket import Ticket
from encoder.work.display import Quiet
from encoder.work.totals import Totals

LEASE_S = 60.0
LOST, SILENT = "lost", "silent"


class Cluster:
    """Workers that answer each shard as `answer` says: a receipt, LOST, or SILENT for ever. One machine a worker."""

    def __init__(self, n_workers: int, answer: Callable[[int, Ticket], Receipt | str] | None = None) -> None:
        self.answer = answer or (lambda worker, ticket: Receipt(ticket.job, "done"))
        self.now = 0.0
        self.sent: list[tuple[int, str, int]] = []
        self.dead: set[str] = set()
        self.absent: set[int] = set()
        self.silent: set[int] = set()
        self.replaced: list[int] = []
        self.dismissed: list[int] = []
        self.events: list[Event] = []
        self.cards: dict[int, Card] = {}
        self._n_workers = n_workers
        self.is_stopped = False
        self.finished_at_stop: list[Receipt] = []

    def __len__(self) -> int:
        return self._n_workers

    def hire(self, worker: int) -> None:
        if worker not in self.absent:
            card = self.cards.get(worker, Card(f"host{worker}", f"node{worker}", 1))
            self.events.append(Event(worker, "card", card.to_json()))

    def send(self, worker: int, letter: str) -> None:
        ticket = ticket_of({"extra": {}, "sae": {}, "select": {}}, letter)
        self.sent.append((worker, ticket.job, ticket.attempts))
        answer = self.answer(worker, ticket)
        if answer == SILENT:
            self.silent.add(worker)
        elif isinstance(answer, Receipt):
            self.events.append(Event(worker, "receipt", answer.to_json()))
        else:
            self.events.append(Event(worker, "lost", "it was killed"))
            self.hire(worker)

    def ask(self, worker: int) -> None:
        if worker not in self.silent | self.absent:
            self.events.append(Event(worker, "sign", json.dumps({"said": [], "progress": []})))

    def replace(self, worker: int) -> None:
        self.replaced.append(worker)
        self.silent.discard(worker)
        self.hire(worker)

    def dismiss(self, worker: int) -> None:
        self.dismissed.append(worker)

    def stop(self) -> None:
        self.is_stopped = True
        self.events += [Event(0, "receipt", receipt.to_json()) for receipt in self.finished_at_stop]

    def wait(self, timeout_s: float) -> list[Event]:
        if not self.events:
            self.now += 1.0
        events, self.events = self.events, []
        return events

    def lives(self, node: str) -> bool:
        return node not in self.dead


class Told(Quiet):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def end(self, job: str, line: str, did: Totals) -> None:
        self.lines.append(f"{job}: {line}")


def dispatcher_of(
    cluster: Cluster,
    sizes: dict[str, int],
    *,
    stopping: threading.Event | None = None,
    told: Told | None = None,
    max_attempts: int = 3,
) -> Dispatcher:
    for worker in range(len(cluster)):
        cluster.hire(worker)
    return Dispatcher(
        cluster,
        [Ticket(job, f"/acts/{job}.npy", f"/out/{job}.npz", {}) for job in sizes],
        list(sizes.values()),
        told or Told(),
        stopping or threading.Event(),
        lease_s=LEASE_S,
        max_attempts=max_attempts,
        tally=Tally(sum(sizes.values()), lambda: cluster.now),
        now=lambda: cluster.now,
    )


def failed(ticket: Ticket, error: str = "the disk is away", *, for_good: bool = False) -> Receipt:
    return Receipt(ticket.job, "failed", error=error, traceback="Traceback ...", for_good=for_good)


def test_every_shard_is_given_away_once_the_largest_first() -> None:
    cluster = Cluster(2)
    dispatcher = dispatcher_of(cluster, {"small": 1, "large": 9, "middle": 5})
    dispatcher.run()
    assert [job for _, job, _ in cluster.sent] == ["large", "middle", "small"]
    assert {worker for worker, _, _ in cluster.sent} == {0, 1}
    assert sorted(dispatcher.done) == ["large", "middle", "small"] and not dispatcher.failed and not dispatcher.left


def test_a_shard_that_fails_is_tried_again_behind_the_others_and_then_failed_with_its_traceback() -> None:
    cluster = Cluster(1, lambda _, ticket: failed(ticket) if ticket.job == "bad" else Receipt(ticket.job, "done"))
    dispatcher = dispatcher_of(cluster, {"bad": 9, "good": 1}, max_attempts=2)
    dispatcher.run()
    assert cluster.sent == [(0, "bad", 1), (0, "good", 1), (0, "bad", 2)]
    assert dispatcher.failed == {"bad": "the disk is away"}
    ticket = dispatcher.failed_tickets["bad"]
    assert (ticket.attempts, ticket.traceback) == (2, "Traceback ...")


def test_a_shard_that_is_at_fault_itself_has_one_attempt() -> None:
    cluster = Cluster(1, lambda _, ticket: failed(ticket, "row 3 holds NaN", for_good=True))
    dispatcher = dispatcher_of(cluster, {"bad": 1})
    dispatcher.run()
    assert len(cluster.sent) == 1 and dispatcher.failed == {"bad": "row 3 holds NaN"}


def test_the_shard_of_a_lost_worker_goes_to_another() -> None:
    cluster = Cluster(2, lambda worker, ticket: LOST if worker == 0 else Receipt(ticket.job, "done"))
    cluster.absent.add(0)
    dispatcher = dispatcher_of(cluster, {"a": 2, "b": 1})
    cluster.events.insert(0, Event(0, "card", Card("host0", "node0", 1).to_json()))
    dispatcher.run()
    assert sorted(dispatcher.done) == ["a", "b"] and not dispatcher.failed
    assert len(cluster.sent) == 3


def test_a_shard_that_kills_its_workers_is_failed_after_max_attempts_and_says_so() -> None:
    cluster = Cluster(2, lambda _, ticket: LOST if ticket.job == "poison" else Receipt(ticket.job, "done"))
    dispatcher = dispatcher_of(cluster, {"poison": 2, "a": 1, "b": 1, "c": 1})
    dispatcher.run()
    assert [attempt for _, job, attempt in cluster.sent if job == "poison"] == [1, 2, 3]
    assert sorted(dispatcher.done) == ["a", "b", "c"]
    assert "/acts/poison.npy: its worker on host" in dispatcher.failed["poison"]
    assert dispatcher.failed_tickets["poison"].attempts == 3


def test_a_machine_that_is_lost_takes_no_attempt_with_it() -> None:
    lost: list[str] = []

    def answer(worker: int, ticket: Ticket) -> Receipt | str:
        if len(lost) < 3:
            lost.append(f"node{worker}")
            cluster.dead.add(f"node{worker}")
            return LOST
        return Receipt(ticket.job, "done")

    cluster = Cluster(4, answer)
    dispatcher = dispatcher_of(cluster, {"a": 1}, max_attempts=1)
    dispatcher.run()
    assert len(lost) == 3 and "a" in dispatcher.done
    assert [attempt for _, _, attempt in cluster.sent] == [1, 1, 1, 1]


def test_a_worker_that_gives_no_sign_for_a_lease_is_replaced_and_its_shard_given_to_another() -> None:
    hung: list[str] = []

    def answer(_: int, ticket: Ticket) -> Receipt | str:
        if ticket.job == "a" and not hung:
            hung.append(ticket.job)
            return SILENT
        return Receipt(ticket.job, "done")

    cluster = Cluster(2, answer)
    dispatcher = dispatcher_of(cluster, {"a": 2, "b": 1})
    dispatcher.run()
    assert len(cluster.replaced) == 1 and LEASE_S < cluster.now < LEASE_S + 10
    assert [(job, attempt) for _, job, attempt in cluster.sent if job == "a"] == [("a", 1), ("a", 2)]
    assert sorted(dispatcher.done) == ["a", "b"]


def test_a_receipt_of_a_shard_that_was_given_to_another_is_not_taken() -> None:
    cluster = Cluster(1)
    cluster.answer = lambda worker, ticket: Receipt(ticket.job if cluster.now > 3 else "other", "done")
    dispatcher = dispatcher_of(cluster, {"a": 1})
    stopping_at = 5
    while not dispatcher.done and cluster.now < stopping_at:
        dispatcher._share_out()
        for event in cluster.wait(0):
            dispatcher._hear(event)
    assert not dispatcher.done


def test_a_worker_that_cannot_work_is_turned_out_and_the_others_go_on() -> None:
    cluster, told = Cluster(2), Told()
    cluster.cards[0] = Card("host0", "node0", 1, "host0 does not see /acts")
    dispatcher = dispatcher_of(cluster, {"a": 1, "b": 1}, told=told)
    dispatcher.run()
    assert cluster.dismissed == [0] and {worker for worker, _, _ in cluster.sent} == {1}
    assert "note: one worker less: host0 does not see /acts" in told.lines


def test_a_run_without_a_worker_that_can_work_ends_with_the_reason() -> None:
    cluster = Cluster(2)
    cluster.cards = dict.fromkeys((0, 1), Card("h", "n", 1, "h does not see /acts"))
    with pytest.raises(EncoderError, match="no worker is left: h does not see /acts"):
        dispatcher_of(cluster, {"a": 1}).run()


def test_a_run_that_no_worker_starts_for_ends_after_its_patience() -> None:
    cluster, told = Cluster(2), Told()
    cluster.absent = {0, 1}
    with pytest.raises(EncoderError, match="no worker has started"):
        dispatcher_of(cluster, {"a": 1}, told=told).run()
    assert PATIENCE * LEASE_S < cluster.now < PATIENCE * LEASE_S + 5
    assert any("waiting" in line for line in told.lines)


def test_a_worker_that_starts_slowly_but_gives_signs_is_waited_for() -> None:
    cluster = Cluster(1)
    cluster.absent.add(0)
    dispatcher = dispatcher_of(cluster, {"a": 1})
    cluster.absent.clear()

    def wait(timeout_s: float) -> list[Event]:
        events = Cluster.wait(cluster, timeout_s)
        if cluster.now > 2 * PATIENCE * LEASE_S and not cluster.sent:
            cluster.hire(0)
        return events

    cluster.wait = wait  # type: ignore[method-assign]
    dispatcher.run()
    assert "a" in dispatcher.done and cluster.now > 2 * PATIENCE * LEASE_S


def test_a_worker_that_never_gets_anywhere_is_not_started_for_ever() -> None:
    def answer(worker: int, ticket: Ticket) -> Receipt | str:
        return LOST if worker == 0 else SILENT if cluster.dismissed == [] else Receipt(ticket.job, "done")

    cluster = Cluster(1, answer)
    sizes = {f"s{number}": 1 for number in range(20)}
    with pytest.raises(EncoderError, match="no worker is left: a worker on host0 was lost 5 times in a row"):
        dispatcher_of(cluster, sizes).run()
    assert len(cluster.sent) == MAX_LOST_IN_ROW


def test_a_worker_that_gets_somewhere_in_between_is_started_again_and_again() -> None:
    cluster = Cluster(1, lambda _, ticket: LOST if ticket.job[0] == "x" and ticket.attempts == 1 else done(ticket))
    sizes = {f"{'x' if number % 3 else 'y'}{number}": 100 - number for number in range(3 * MAX_LOST_IN_ROW)}
    dispatcher = dispatcher_of(cluster, sizes)
    dispatcher.run()
    assert len(dispatcher.done) == len(sizes) and not cluster.dismissed


def done(ticket: Ticket) -> Receipt:
    return Receipt(ticket.job, "done")


def test_the_parts_of_a_job_of_several_saes_come_after_the_jobs_that_wait() -> None:
    def answer(_: int, ticket: Ticket) -> Receipt:
        said = dict(ticket.result) or {"saes": {"r/1": {"rows": 1}}}
        return Receipt(ticket.job, "done" if ticket.result else "again", result=said)

    cluster = Cluster(1, answer)
    dispatcher = dispatcher_of(cluster, {"a": 2, "b": 1})
    dispatcher.run()
    assert [job for _, job, _ in cluster.sent] == ["a", "b", "a", "b"]
    assert [attempt for _, _, attempt in cluster.sent] == [1, 1, 1, 1], "a part that is done has cost no attempt"


def test_settings_that_do_not_go_with_the_results_end_the_run() -> None:
    cluster = Cluster(1, lambda _, ticket: Receipt(ticket.job, "misfit", error="made with other values"))
    with pytest.raises(MismatchError, match="made with other values"):
        dispatcher_of(cluster, {"a": 1}).run()


def test_a_stop_leaves_what_is_in_hand_and_hears_of_what_was_finished() -> None:
    stopping = threading.Event()

    def answer(worker: int, ticket: Ticket) -> str:
        stopping.set()
        if worker == 0:
            cluster.finished_at_stop.append(Receipt(ticket.job, "done"))
        return SILENT

    cluster = Cluster(2, answer)
    dispatcher = dispatcher_of(cluster, {"a": 3, "b": 2, "c": 1}, stopping=stopping)
    dispatcher.run()
    assert cluster.is_stopped and len(dispatcher.done) == 1 and "c" not in dispatcher.done
    assert sorted([*dispatcher.done, *dispatcher.left]) == ["a", "b", "c"]


def test_worker_hours_are_those_of_workers_that_are_there_idle_or_not() -> None:
    now = 0.0
    tally = Tally(100, lambda: now)
    tally.count(2)
    now = 1800.0
    tally.count(0)
    now = 9000.0
    tally.count(0)
    tally.n_bytes, tally.n_lost = 25, 1
    assert tally.document() == {"worker_hours": 1.0, "workers_lost": 1}
    assert tally.words() == ["0 workers", "1.00 worker hours", "1 lost", "7 h 30 min left"]


def test_a_ticket_goes_to_a_worker_in_two_parts_and_comes_together_there() -> None:
    tickets = [
        Ticket(
            f"s{number}",
            f"/acts/s{number}.npy",
            f"/out/s{number}.npz",
            {"saes": [{"folder": f"r/{n}", "sae_path": f"/saes/{n}"} for n in range(2000)]},
            {"layer": "3"},
            extra={"root": "/acts", "exclude": None, "weights_sha256": {}},
        )
        for number in range(2)
    ]
    pieces = brief_of(Options(), tickets, run="ab")
    assert len(pieces) > 1 and max(map(len, pieces)) <= MAX_PIECE_CHARACTERS
    brief = json.loads("".join(pieces))
    assert [ticket_of(brief, letter_of(ticket)) for ticket in tickets] == tickets
    assert max(len(letter_of(ticket)) for ticket in tickets) < 200, "what is said once is not said for each shard"
    assert Options(**brief["options"]) == Options()
