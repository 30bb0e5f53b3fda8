"""One attempt at a job, away from any queue: where its files go, and how they become results."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from encoder.queue.publish import Unpublished, mark_of, publish
from encoder.queue.ticket import Target, Ticket
from encoder.stores.object_path import ObjectPath


class Attempt:
    """See `encoder.work.job.Held`. `claim` is in the names of temporary files, and in no other attempt's.

    `place` makes paths of what the ticket says; `scratch` is for what goes to an address.
    """

    def __init__(self, ticket: Ticket, claim: str, place: Callable[[str], Path], scratch: Path) -> None:
        self.ticket, self.shard = ticket, place(ticket.shard)
        self._claim, self._place, self._scratch = claim, place, scratch

    def place_of(self, target: Target) -> Path:
        return self._place(target.out)

    def temporary_for(self, out: Path) -> Path:
        if isinstance(out, ObjectPath):
            return self._scratch / f"{hashlib.sha256(str(out).encode()).hexdigest()[:16]}.npz.{self._claim}.tmp"
        return out.with_name(f"{out.name}.{self._claim}.tmp")

    def publish(self, outputs: Iterable[Path]) -> None:
        """Give the files their names as results, and leave no temporary file. Raises: Unpublished."""
        outputs = list(outputs)
        try:
            for out in outputs:
                temporary = self.temporary_for(out)
                publish(out, self.shard, temporary, _durable(temporary))
        finally:
            for out in outputs:
                self.temporary_for(out).unlink(missing_ok=True)


def _durable(path: Path) -> dict[str, int]:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise Unpublished(f"{path.name} is gone: the shard was given to another worker") from None
    try:
        os.fsync(descriptor)
        return mark_of(os.fstat(descriptor))
    finally:
        os.close(descriptor)
