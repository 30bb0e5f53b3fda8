"""What passes between the driver and a worker: the brief once, a letter for each attempt, and a receipt back. All JSON.

brief     options, and what all tickets of the run have in common: {"options", "sae", "select", "extra"}
letter    what tells one ticket from another: {"job", "shard", "out", "root", "attempts", "result"}
receipt   how the attempt ended, see `Receipt`
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from encoder.options import Options
from encoder.queue.ticket import Ticket
from encoder.work.totals import Totals

MAX_PIECE_CHARACTERS = 60_000
"""Ray puts an argument of over 100 kB into its object store, from where a restarted actor may not get it again."""

State = Literal["done", "again", "failed", "stopped", "misfit"]


def brief_of(options: Options, tickets: Sequence[Ticket], **more: Any) -> list[str]:
    """Return the brief for tickets of one run, in pieces that are small enough to be kept with the actor."""
    first = tickets[0]
    common = {"options": options.model_dump(), "sae": first.sae, "select": first.select, "extra": first.extra, **more}
    text = json.dumps(common)
    return [text[at : at + MAX_PIECE_CHARACTERS] for at in range(0, len(text), MAX_PIECE_CHARACTERS)]


def letter_of(ticket: Ticket) -> str:
    """Return what a worker with the brief needs to know of a ticket."""
    names = ("job", "shard", "out", "attempts", "result")
    return json.dumps({name: getattr(ticket, name) for name in names} | {"root": ticket.extra.get("root")})


def ticket_of(brief: Mapping[str, Any], letter: str) -> Ticket:
    """Return the ticket again. Raises: InputError."""
    own = json.loads(letter)
    extra = {**brief["extra"], "root": own.pop("root")}
    return Ticket(**own, sae=brief["sae"], select=brief["select"], extra=extra)


@dataclass(slots=True)
class Receipt:
    """How an attempt ended.

    done      all that the job asked for is published, or was before
    again     a part of its SAEs is: the job comes again with this `result`
    failed    `error` and `traceback` say why; `for_good` where another attempt would fail alike
    stopped   the worker was told to stop
    misfit    the worker's settings do not go with the results that are there: nothing of the run can be done

    `said` are lines for the user that no sign has brought yet.
    """

    job: str
    state: State
    line: str = ""
    did: Totals = field(default_factory=Totals)
    result: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    traceback: str = ""
    for_good: bool = False
    said: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Receipt:
        words = json.loads(text)
        return cls(**words | {"did": Totals(**words["did"])})


@dataclass(frozen=True, slots=True)
class Card:
    """Who a worker is, and what it has `said`; `error` says why it cannot work, and nobody should wait for it."""

    host: str
    node: str
    pid: int
    error: str = ""
    said: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Card:
        return cls(**json.loads(text))
