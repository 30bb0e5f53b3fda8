"""What became of each of several SAEs over all shards: its results, and the shards that have nothing for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from encoder.errors import InputError
from encoder.queue.queue import Queue
from encoder.queue.ticket import Ticket
from encoder.stores.object_path import Places

ENDED = ("done", "failed")


class BySae:
    """Hears what tickets of ended jobs say.

    `absent` are a job and the folder of an SAE for which its shard has nothing, with the reason. `without_sae` are
    places in the data that no SAE is for.
    """

    def __init__(self) -> None:
        self.absent: dict[tuple[str, str], str] = {}
        self.without_sae: dict[str, None] = {}

    def hear(self, queue: Queue, tickets: Iterable[Ticket]) -> None:
        """Look at what became of these jobs, where they have ended."""
        for ticket in tickets:
            for state in ENDED if ticket.is_of_several else ():
                with suppress(InputError, OSError):
                    ended = queue.ticket(state, ticket.job)
                    if ended is not None:
                        self.take(ended)

    def take(self, ticket: Ticket) -> None:
        """Take what the ticket of a job that has ended says."""
        saes, without = ticket.result.get("saes"), ticket.result.get("without_sae")
        for folder, said in saes.items() if isinstance(saes, dict) else ():
            if isinstance(said, Mapping) and "absent" in said:
                self.absent[ticket.job, folder] = str(said["absent"])
        self.without_sae |= dict.fromkeys(map(str, without) if isinstance(without, list) else ())

    def summary(
        self, tickets: Iterable[Ticket], root: Path = Path(), place: Callable[[str], Path] = Path
    ) -> list[dict[str, Any]]:
        """Return each SAE with how many shards have its result, and how many have nothing for it, and why.

        Paths in tickets are relative to `root`; `place` makes paths of what tickets say.
        """
        found: dict[str, dict[str, Any]] = {}
        for ticket in tickets:
            for target in ticket.targets if ticket.is_of_several else ():
                new = {"folder": target.folder, **target.sae, "results": 0, "absent": 0, "why_absent": None}
                one, why = found.setdefault(target.folder, new), self.absent.get((ticket.job, target.folder))
                one["results"] += (root / place(target.out)).exists()
                one["absent"] += why is not None
                one["why_absent"] = one["why_absent"] or why
        return list(found.values())


def of_queue(queue: Queue) -> dict[str, Any]:
    """Return what `sae-encode work --json` says of each of several SAEs; nothing where no job is of several."""
    tickets = []
    for job, state in queue.states().items():
        with suppress(InputError, OSError):
            ticket = queue.ticket(state, job)
            if ticket is not None and ticket.is_of_several:
                tickets.append(ticket)
    if not tickets:
        return {}
    by_sae = BySae()
    by_sae.hear(queue, tickets)
    return {"saes": by_sae.summary(tickets, queue.root, Places()), "without_sae": list(by_sae.without_sae)}
