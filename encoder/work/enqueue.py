"""From inputs to jobs in a queue. What cannot become a job says why, and stops no other."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from encoder.errors import InputError
from encoder.queue.queue import Queue
from encoder.queue.ticket import Ticket
from encoder.stores.object_path import Places
from encoder.work.resume import check_resumes, excluded_by, to_do_and_taken
from encoder.work.submit import Input, tickets_of


def enqueue(
    queue: Queue,
    inputs: Sequence[Input],
    out: Path,
    sae: dict[str, Any],
    select: dict[str, str],
    *,
    again: bool,
    **extra: Any,
) -> tuple[int, dict[str, str]]:
    """Submit a job for each input; return how many are new, and by job why others cannot be encoded.

    An input whose name no result can have becomes a job in failed/. Failed jobs that differ start anew, and `again` all
    that ended. `extra` are further keys of the tickets. Raises: MismatchError if two runs would be mixed.
    """
    impossible = {item.job: reason for item in inputs if (reason := item.why_no_job) is not None}
    tickets = tickets_of(inputs, out, sae, select, **extra)
    taken = check_resumes(queue, tickets, again=again)
    to_do, occupied = to_do_and_taken(tickets, {}, place=Places([out]))
    for ticket in tickets:
        if ticket.job in impossible:
            queue.refuse(ticket, impossible[ticket.job])
    refused = impossible | occupied | taken
    coming = [ticket for ticket in (to_do if again else tickets) if ticket.job not in refused]
    n_new = queue.submit(coming, again=again)
    if not again:
        n_new += queue.submit([ticket for ticket in coming if _failed_otherwise(queue, ticket)], again=True)
    return n_new, refused


def _failed_otherwise(queue: Queue, ticket: Ticket) -> bool:
    """Say whether the job failed with another selection, SAE, shard or output than it comes with now."""
    there = None
    with suppress(InputError):
        there = queue.ticket("failed", ticket.job)
    names = ("shard", "out", "sae", "select")
    if there is None or any(getattr(there, name) != getattr(ticket, name) for name in names):
        return there is not None
    return excluded_by(there) != excluded_by(ticket)
