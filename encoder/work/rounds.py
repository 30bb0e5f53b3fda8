"""The jobs of one run, worked on in rounds until nothing is left to do.

The queue is `<out>/.queue`, or a folder of this machine where the results go to an address. It is gone when everything
is done; what is left of an interrupted run is in it. Several runs with the same SAE may work on one folder at a time,
so another run may have done a job, taken its name or removed the queue. Each round therefore looks again at the results
that are there.
"""

from __future__ import annotations

import secrets
import shlex
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encoder.errors import EncoderError, InputError, MismatchError
from encoder.machine.scratch import scratch_folder
from encoder.options import Options
from encoder.queue.queue import Queue, Status
from encoder.queue.ticket import Ticket
from encoder.stores.object_path import ObjectPath, Places
from encoder.stores.opened import open_store
from encoder.stores.probe import check_conditions
from encoder.work.by_sae import BySae
from encoder.work.processes import work_in_processes
from encoder.work.record import Record, settings_of
from encoder.work.resume import check_folder, check_resumes, results_in, to_do_and_taken
from encoder.work.totals import Display, Totals

if TYPE_CHECKING:
    from encoder.sae.sae import LoadedSae

QUEUE_NAME = ".queue"
MAX_ROUNDS = 5
"""How often a run makes results that are gone when it looks for them."""
MAX_NAMED = 5
FLOAT16 = (
    "note: --values float16: scipy cannot compute with float16; encoder.open_features gives float32, as does"
    ' scipy.sparse.load_npz(path).astype("float32")'
)


class Work:
    """The jobs of a run and what became of them. `saes` returns those SAEs that are loaded already.

    `n_finished` were finished before. `failed` are jobs with their errors, of which `failed_tickets` say more. `taken`
    are jobs whose result's name another shard has, with what to do. `status` says where the jobs of the queue are, if
    the queue is still there. `told` is what `--json` says besides.
    """

    def __init__(
        self,
        tickets: list[Ticket],
        out: Path,
        saes: Callable[[], Sequence[LoadedSae]],
        options: Options,
        settings: dict[str, Any],
        display: Display,
        stopping: threading.Event,
        root: Path,
        place: Places,
    ) -> None:
        self._tickets, self._root, self._saes, self._options = tickets, root, saes, options
        self._out, self._place = out, place
        self._settings, self._display, self._stopping = settings, display, stopping
        _check_folders(tickets, out, settings, place)
        self._records: list[Record] = []
        self.by_sae = BySae()
        self.totals = Totals()
        self.status: Status | None = None
        self.taken: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self.failed_tickets: dict[str, Ticket] = {}
        self.told: dict[str, Any] = {}
        to_do = self._to_do()
        self.n_finished = len(tickets) - len(to_do) - len(self.taken)
        self._first = to_do

    def summary(self) -> list[dict[str, Any]]:
        """Return what became of each of several SAEs."""
        return self.by_sae.summary(self._tickets, place=self._place)

    @property
    def is_needed(self) -> bool:
        """Say whether there is anything to do: shards, or what is left of a run before."""
        return bool(self._first) or self._root.is_dir()

    def claim_folders(self) -> None:
        """Claim the folders of the results for this run. Raises: InputError, MismatchError."""
        if isinstance(self._out, ObjectPath):
            check_conditions(open_store(self._out))
        for record in _records(self._tickets, self._settings, self._place):
            record.claim()
            self._records.append(record)

    def release_folders(self) -> bool:
        """End the claims, and say whether there is any result.

        Raises: MismatchError if a run with other settings took a folder meanwhile.
        """
        with_results = [record for record in self._records if record.release()]
        return bool(with_results)

    def do(self) -> None:
        """Work until nothing is left to do, or a signal comes. Raises: InputError, MismatchError."""
        try:
            self._do()
        except BaseException:
            with suppress(EncoderError, OSError):  # what went wrong is told
                self.release_folders()
            raise

    def _do(self) -> None:
        to_do, rounds = self._first, 0
        if to_do and self._options.values == "float16":
            self._display.say(FLOAT16)
        while not self._stopping.is_set() and (to_do or (not rounds and self._root.is_dir())):
            rounds += 1
            if rounds > MAX_ROUNDS:
                lost = "its result was made and is gone again; does another program remove it?"
                self.taken |= {ticket.job: f"{ticket.out}: {lost}" for ticket in to_do}
                return
            queue = self._queue()
            self.taken |= check_resumes(queue, self._tickets, again=True)
            queue.submit([ticket for ticket in to_do if ticket.job not in self.taken], again=True)
            self._work_on(queue)
            self.by_sae.hear(queue, self._tickets)
            self.status = _end(queue)
            left = {*self.status.ready, *self.status.failed} if self.status else set()
            left |= {held.job for held in self.status.claimed} if self.status else set()
            unfinished = self._to_do()
            to_do = [ticket for ticket in unfinished if ticket.job not in left]
            if self.status:
                self._sum_up_failures(queue, self.status, {ticket.job for ticket in unfinished})

    def _sum_up_failures(self, queue: Queue, status: Status, unfinished: set[str]) -> None:
        """Tell failed jobs of this run from those that a run on other inputs left behind, which that run has told."""
        self.failed, self.failed_tickets, others = {}, {}, []
        mine = {ticket.job for ticket in self._tickets}
        for job, error in status.failed.items():
            if job in unfinished or (job not in mine and not _is_readable(queue, job)):
                self.failed[job] = error
                with suppress(InputError, OSError):  # what cannot be read has its error all the same
                    if (ticket := queue.ticket("failed", job)) is not None:
                        self.failed_tickets[job] = ticket
            elif job not in mine:
                others.append(job)
        if others:
            shown = ", ".join(others[:MAX_NAMED]) + (", ..." if len(others) > MAX_NAMED else "")
            at = f"sae-encode status --queue {shlex.quote(str(self._root))}"
            self._display.say(f"note: of other inputs, encoded into this folder before, failed {shown}; see {at}")

    @property
    def done(self) -> list[tuple[str, str]]:
        """Return the jobs that have all their results, each with its shard."""
        to_do = {ticket.job for ticket in self._to_do()}
        mine = (ticket for ticket in self._tickets if ticket.job not in to_do and ticket.job not in self.taken)
        return [(ticket.job, ticket.shard) for ticket in mine]

    def _to_do(self) -> list[Ticket]:
        coming = [ticket for ticket in self._tickets if ticket.job not in self.taken]
        strict, absent, place = self._options.strict, self.by_sae.absent, self._place
        place.forget()
        to_do, taken = to_do_and_taken(coming, self._settings, strict=strict, absent=absent, place=place)
        self.taken |= taken
        return to_do

    def _queue(self) -> Queue:
        options = self._options
        try:
            return Queue(self._root, lease_s=options.lease_s, max_attempts=options.max_attempts, create=True)
        except OSError as exc:
            raise InputError(f"--out {self._root.parent}: results cannot be written there: {exc.strerror}") from exc

    def _work_on(self, queue: Queue) -> None:
        if (self._options.workers or 1) > 1:
            self.totals.add(work_in_processes(queue, self._options, self._display, self._stopping))
            return
        from encoder.work.worker import Worker  # takes torch along, in a second

        saes, stopping = self._saes(), self._stopping
        worker = Worker(queue, self._options, self._display, saes=saes, stopping=stopping, tells_errors=False)
        try:
            worker.run()
        finally:
            self.totals.add(worker.totals)


@contextmanager
def workplace(out: Path, name: str) -> Iterator[Path]:
    """Give the folder of the run's queue: in the folder of the results, or on this machine where that is an address."""
    if not isinstance(out, ObjectPath):
        yield out / name
        return
    with scratch_folder() as folder:
        yield folder / name


def _check_folders(tickets: Sequence[Ticket], out: Path, settings: dict[str, Any], place: Places) -> None:
    """Refuse folders that hold results of other settings. Raises: MismatchError with what differs."""
    both = {name: settings[name] for name in ("values", "exclude")}
    weights = {place(one.out).parent: one.weights_sha256 for ticket in tickets for one in ticket.targets}
    for folder, own in weights.items():
        check_folder(folder, both | {"weights_sha256": own})
    if tickets and tickets[0].is_of_several and (alone := next(results_in(out, ()), None)):
        raise MismatchError(
            f"{alone[0]} is the result of one SAE, and several SAEs have folders of their own below --out: choose"
            " another one, so that nobody takes these features for those of all"
        )


def _records(tickets: Sequence[Ticket], settings: dict[str, Any], place: Places) -> list[Record]:
    """Return what is kept of this run in each folder of results, not claimed yet."""
    folders = {place(one.out).parent: one for ticket in tickets for one in ticket.targets}
    return [Record(folder, settings_of(one.sae, one.weights_sha256, settings)) for folder, one in folders.items()]


def _is_readable(queue: Queue, job: str) -> bool:
    try:
        return queue.ticket("failed", job) is not None
    except InputError:
        return False


def _end(queue: Queue) -> Status | None:
    """Return where the jobs are, and remove the queue if all are done; None if another run removed it before."""
    try:
        status = queue.status()
        if status.is_finished and not status.failed:
            name = queue.root.name
            queue.root.rename(queue.root.with_name(f"{name}.{secrets.token_hex(4)}"))  # gone at once, for others
            for over in queue.root.parent.glob(f"{name}.*"):
                shutil.rmtree(over, ignore_errors=True)
    except FileNotFoundError:
        return None
    return status
