"""The jobs of one run, done by the workers of a Ray cluster: `Work` with other hands."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import saefetch
from encoder.engines.cluster.connect import Room, connected, room_for
from encoder.engines.cluster.dispatch import Dispatcher
from encoder.engines.cluster.letters import brief_of
from encoder.engines.cluster.strays import remove_strays
from encoder.engines.cluster.tally import Tally
from encoder.errors import InputError
from encoder.queue.queue import Status
from encoder.queue.ticket import Ticket
from encoder.stores.object_path import ObjectPath
from encoder.work.named import NAMES
from encoder.work.rounds import FLOAT16, Work

LOOK_EVERY_S = 0.5
"""How often the driver looks for a result that a worker has made, and that it does not see yet."""
MAX_ROOTS = 16
"""INPUTs of which each worker has to see each."""


class RayWork(Work):
    """See `Work`. `told` is what `--json` says of the cluster."""

    @property
    def is_needed(self) -> bool:
        return bool(self._first)

    def _do(self) -> None:
        to_do = self._first
        if not to_do:
            return
        _check_names(to_do[0])
        if self._options.values == "float16":
            self._display.say(FLOAT16)
        with connected(self._options.ray_address):
            room = room_for(self._options, self._stopping)
            if not self._stopping.is_set():
                self._share_out(to_do, room)

    def _share_out(self, to_do: list[Ticket], room: Room) -> None:
        from encoder.engines.cluster.actors import Actors  # imports Ray

        options, run = self._options, secrets.token_hex(4)
        n_workers = min(options.workers or room.n_workers, len(to_do))
        self._display.say(f"note: {room.in_words(n_workers)}")
        brief = self._brief(to_do, run, min(n_workers, room.most_on_one))
        sizes = [_size_of(self._place(ticket.shard)) for ticket in to_do]
        tally = Tally(sum(sizes))
        with Actors(brief, n_workers, room.resources) as crew:
            lease_s, max_attempts = options.lease_s, options.max_attempts
            dispatcher = Dispatcher(
                crew,
                to_do,
                sizes,
                self._display,
                self._stopping,
                lease_s=lease_s,
                max_attempts=max_attempts,
                tally=tally,
            )
            try:
                dispatcher.run()
            finally:
                self._take(dispatcher, to_do, run)
                self.told = {"ray": {"workers": n_workers, "machines": room.n_machines, **tally.document()}}

    def _brief(self, tickets: Sequence[Ticket], run: str, n_together: int) -> list[str]:
        """Return what every worker needs to know; `n_together` of them share the memory of a machine."""
        roots = sorted({str(ticket.extra.get("root")) for ticket in tickets})[:MAX_ROOTS]
        options = self._options.model_copy(update={"workers": n_together})
        place = str(self._place(tickets[0].targets[0].out).parent)
        return brief_of(options, tickets, run=run, version=saefetch.__version__, place=place, roots=roots)

    def _take(self, dispatcher: Dispatcher, to_do: Sequence[Ticket], run: str) -> None:
        """Hear what became of the jobs, and look for the results."""
        self.totals.add(dispatcher.totals)
        self.failed, self.failed_tickets = dispatcher.failed, dispatcher.failed_tickets
        for ticket in to_do:
            if ticket.is_of_several and ticket.job in dispatcher.done:
                self.by_sae.take(replace(ticket, result=dispatcher.done[ticket.job]))
        self.failed |= self._unseen({ticket.job for ticket in to_do if ticket.job in dispatcher.done})
        self.status = Status(dispatcher.left, [], [], dict(self.failed), [])
        if not isinstance(self._out, ObjectPath):
            folders = {Path(one.out).parent for ticket in to_do for one in ticket.targets}
            remove_strays(folders, run, {job for job, _ in self.done})

    def _unseen(self, made: set[str]) -> dict[str, str]:
        """Return the jobs that workers have done and of which no result is here, which may take a moment to be seen."""
        waited_s, never = 0.0, threading.Event()
        while True:
            unseen = {ticket.job: ticket.out for ticket in self._to_do() if ticket.job in made}
            if not unseen or waited_s >= self._options.lease_s:
                break
            never.wait(LOOK_EVERY_S)
            waited_s += LOOK_EVERY_S
        why = (
            "a worker has written it, and it is not here: is this one folder on all machines, and does nobody clear it?"
        )
        return {job: f"{out}: {why}" for job, out in unseen.items()}


def _check_names(ticket: Ticket) -> None:
    """Raises: InputError for an SAE that other machines cannot load, as it has no name."""
    for target in ticket.targets:
        if not any(target.sae.get(name) for name in NAMES):
            raise InputError(
                "engine='ray': this SAE is in memory only, and workers load it by its name: give its path, or"
                " (release, id)"
            )


def _size_of(shard: Path) -> int:
    """Return the size of a shard, 0 where it is not known: its job will say what is wrong."""
    try:
        return int(shard.stat().st_size)
    except OSError:
        return 0
