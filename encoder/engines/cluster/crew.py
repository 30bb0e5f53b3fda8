"""The workers of a run, as who shares out the shards knows them: numbers, and what happens to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Event:
    """A `card`, `receipt` or `sign` came from a worker; or it is `lost`, and `text` says why."""

    worker: int
    kind: Literal["card", "receipt", "sign", "lost"]
    text: str


class Crew(Protocol):
    """The workers, by number. One that is lost comes back by itself, and then its card comes again."""

    def __len__(self) -> int: ...

    def send(self, worker: int, letter: str) -> None:
        """Give a worker a shard."""

    def ask(self, worker: int) -> None:
        """Ask a worker for a sign."""

    def replace(self, worker: int) -> None:
        """End a worker that is in doubt, and start it again."""

    def dismiss(self, worker: int) -> None:
        """End a worker for good."""

    def stop(self) -> None:
        """Have all workers give up their shards."""

    def wait(self, timeout_s: float) -> list[Event]:
        """Return what has happened, or happens within this time."""

    def lives(self, node: str) -> bool:
        """Say whether a machine is still one of the cluster."""
