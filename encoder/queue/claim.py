"""A claim on a job, and the ways out of it. Which states there are, and why this is safe, is in `encoder.queue`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from encoder.errors import FencedError, InputError
from encoder.queue.publish import Unpublished, mark_of, publish
from encoder.queue.spool import CLAIM, Name, Spool, new_token, read
from encoder.queue.ticket import Target, Ticket, tombstone
from encoder.stores.object_path import path_in
from saefetch.files.atomic import fsync_folder

MAX_ERROR = 20_000  # characters that a ticket keeps of an error, and of the end of a traceback


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The moves that end a stay in ready/, claimed/, done/ or failed/. `worker` is the process that makes them."""

    spool: Spool
    worker: str
    max_attempts: int

    def move(self, source: Path, to: str, job: str, content: bytes, expected: bytes | None = None) -> bool:
        """Take a job from `source` to the state `to` and give it the ticket `content`; return False if it was gone."""
        name = Name(job, 0, self.worker, new_token(), to)
        grip = self.spool.enter(name, source, content, expected)
        if grip is None:
            return False
        with grip:
            self.roll_forward(name)
        return True

    def give_up(
        self, source: Path, ticket: Ticket, error: str, traceback: str | None = None, *, for_good: bool = False
    ) -> bool:
        """Take a job whose attempt failed to ready/; to failed/ after the last attempt, or `for_good`."""
        ticket, to = self.after_failure(ticket.without_outputs(), error, traceback, for_good=for_good)
        return self.move(source, to, ticket.job, ticket.to_json())

    def after_failure(self, ticket: Ticket, error: str, traceback: str | None, *, for_good: bool) -> tuple[Ticket, str]:
        """Return the ticket with the error, and the state that the job goes to."""
        ticket = replace(ticket, error=error[:MAX_ERROR], traceback=traceback and traceback[-MAX_ERROR:])
        if for_good or ticket.attempts >= self.max_attempts:
            return ticket, "failed"
        return replace(ticket, worker=None), "ready"

    def reclaim(self, name: Name) -> bool:
        """Take a job away from the owner of an abandoned claim; return False if another process took it first."""
        self.spool.claimed(name, "next").unlink(missing_ok=True)  # the .json has its last content from here on
        path = self.spool.claimed(name)
        data = read(path)
        if data is None:
            return False
        try:
            ticket = Ticket.from_json(data, name.job)
        except InputError as exc:
            return self.move(path, "failed", name.job, tombstone(name.job, data, str(exc)))
        if (ticket.worker, ticket.attempts) != (name.owner, name.attempt):  # the owner died before it wrote the ticket
            ticket = replace(ticket, worker=name.owner, attempts=ticket.attempts + 1)
        error = f"lease expired: worker {name.owner} died or hung in attempt {ticket.attempts} of {self.max_attempts}"
        return self.give_up(path, ticket, error)

    def roll_forward(self, name: Name) -> str | None:
        """Take a decided job to its state; return the reason if that is impossible. Any process may, repeatedly."""
        self.spool.consume_next(name)
        path = self.spool.claimed(name)
        data = read(path)
        if data is None:
            return None
        try:
            ticket = Ticket.from_json(data, name.job)
        except InputError as exc:
            if name.to != "failed":
                self.move(path, "failed", name.job, tombstone(name.job, data, str(exc)))
                return str(exc)
        else:
            if error := self._publish(name, ticket):
                return error
            if name.to != "done" or name.attempt > 1:
                self.sweep_temporaries(ticket, over=name.claim)
        self.spool.settle(name)
        return None

    def _publish(self, name: Name, ticket: Ticket) -> str | None:
        """Publish the outputs that the verdict names; return the reason if one cannot be."""
        outputs, root = _outputs_of(ticket), self.spool.root
        if outputs:
            fsync_folder(root / "claimed")
        unpublished: dict[Path, Unpublished] = {}
        for path, mark in outputs.items():
            temporary = self.spool.temporary_of(path_in(root, path), name)
            try:
                publish(path_in(root, path), path_in(root, ticket.shard), temporary, mark)
            except Unpublished as exc:
                unpublished[temporary] = exc
        if not unpublished:
            return None
        self._withdraw(name, ticket, unpublished)
        return "; ".join(map(str, unpublished.values()))

    def _withdraw(self, name: Name, ticket: Ticket, unpublished: Mapping[Path, Unpublished]) -> None:
        """Give back a job of which an output cannot be published, whatever the verdict was."""
        # The temporary output goes first: its worker, waking up late, could publish it otherwise. If it cannot be
        # removed, the job stays where it is.
        with suppress(OSError):
            for temporary in unpublished:
                temporary.unlink(missing_ok=True)
            ticket = replace(ticket, attempts=name.attempt)  # who puts a job back has taken its attempt off
            for_good = any(exc.for_good for exc in unpublished.values())
            error = "; ".join(map(str, unpublished.values()))
            self.give_up(self.spool.claimed(name), ticket, error, for_good=for_good)

    def sweep_temporaries(self, ticket: Ticket, over: str = "") -> None:
        """Remove the half-written files beside the outputs of claims that are over, also names made from theirs.

        `over` is a claim whose verdict stands, and whose outputs are published.
        """
        for target in ticket.targets:
            spooled = self.spool.spooled(path_in(self.spool.root, target.out))
            pattern = re.compile(rf"{re.escape(spooled.name)}\.({CLAIM})\.(?:.*\.)?tmp", re.DOTALL)
            with suppress(OSError):  # left-over files do no harm
                for path in spooled.parent.iterdir():
                    found = pattern.fullmatch(path.name)
                    if found and (found[1] == over or not self._is_claimed(ticket.job, found[1])):
                        path.unlink(missing_ok=True)

    def _is_claimed(self, job: str, claim: str) -> bool:
        """Say whether a claim stands. Its file exists before its outputs do, first as .json and then as .to-*.json."""
        return any(self.spool.claimed(Name.of(job, claim, to)).exists() for to in ("", "done", "ready", "failed"))


class Claim:
    """A job that this worker has. The worker writes an output to `temporary_for` it, which is in the same folder, or
    in a folder of the queue where the output goes to an address.

    `done`, `fail` and `put_back` end the claim, and publish the outputs that they are given; after these calls the
    temporary files belong to the queue, whatever happened. FencedError says that the claim had ended before, and that
    the job is another worker's: drop the work and go on. After any other exception the claim stands.
    `out` is where the result goes of a ticket of one SAE, and `temporary` where the worker writes it.
    """

    def __init__(self, verdicts: Verdicts, name: Name, ticket: Ticket, grip: BinaryIO) -> None:
        self.ticket = ticket
        self.shard = path_in(verdicts.spool.root, ticket.shard)
        self.out = path_in(verdicts.spool.root, ticket.out)
        self._verdicts = verdicts
        self._spool = verdicts.spool
        self._name = name
        self._path = self._spool.claimed(name)
        self._grip = grip

    @property
    def temporary(self) -> Path:
        return self.temporary_for(self.out)

    def place_of(self, target: Target) -> Path:
        """Return where the result of one of the ticket's SAEs goes."""
        return path_in(self._spool.root, target.out)

    def temporary_for(self, out: Path) -> Path:
        return self._spool.temporary_of(out, self._name)

    def renew(self) -> None:
        """Renew the lease: call this several times in `lease_s`, from any thread. Raises: FencedError if it ended."""
        try:
            self._spool.stamp(self._path)
        except FileNotFoundError:
            raise self._fenced() from None

    def check(self) -> None:
        """Raise FencedError if the claim ended, which saves the rest of the work; `done` is safe without this."""
        if not self._path.exists():
            raise self._fenced()

    def done(self, result: Mapping[str, Any] | None = None, outputs: Iterable[Path] | None = None) -> None:
        """Publish the outputs, just `out` if none are named, and end the job.

        Raises: FencedError; FileNotFoundError if an output to publish does not exist.
        """
        ticket = replace(self.ticket, error=None, traceback=None, result=dict(result or {}))
        self._decide("done", ticket, (self.out,) if outputs is None else outputs)

    def fail(
        self,
        error: str,
        traceback: str | None = None,
        *,
        for_good: bool = False,
        result: Mapping[str, Any] | None = None,
        outputs: Iterable[Path] = (),
    ) -> None:
        """Give the job back to ready/; to failed/ after `max_attempts`, or `for_good`. Raises: FencedError."""
        ticket, to = self._verdicts.after_failure(self._with(result), error, traceback, for_good=for_good)
        self._decide(to, ticket, outputs)

    def put_back(self, result: Mapping[str, Any] | None = None, outputs: Iterable[Path] = ()) -> None:
        """Give the job back to ready/ with this attempt not counted. Raises: FencedError."""
        ticket = replace(self._with(result), attempts=self.ticket.attempts - 1, worker=None)
        self._decide("ready", ticket, outputs)

    def _with(self, result: Mapping[str, Any] | None) -> Ticket:
        return self.ticket if result is None else replace(self.ticket, result=dict(result))

    def _decide(self, to: str, ticket: Ticket, outputs: Iterable[Path]) -> None:
        temporaries = {str(out): self.temporary_for(out) for out in outputs}
        marks = {out: self._make_durable(temporary) for out, temporary in temporaries.items()}
        for folder in {temporary.parent for temporary in temporaries.values()}:
            fsync_folder(folder)
        if marks:
            ticket = replace(ticket, extra={**ticket.extra, "outputs": marks})
        decided = replace(self._name, to=to)
        grip = self._spool.enter(decided, self._path, ticket.to_json())
        self._grip.close()
        if grip is None:
            self._verdicts.sweep_temporaries(self.ticket)
            raise self._fenced()
        with grip:
            if error := self._verdicts.roll_forward(decided):
                raise FencedError(f"{self.ticket.job}: {error}; the job is not ours any more")

    def _make_durable(self, path: Path) -> dict[str, int]:
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            self.check()
            raise
        try:
            os.fsync(descriptor)
            return mark_of(os.fstat(descriptor))
        finally:
            os.close(descriptor)

    def _fenced(self) -> FencedError:
        return FencedError(
            f"{self.ticket.job}: attempt {self._name.attempt} of worker {self._name.owner} is over: its lease was not "
            "renewed in time, and the job was taken away; its output is dropped"
        )


def _outputs_of(ticket: Ticket) -> Mapping[str, Any]:
    outputs = ticket.extra.get("outputs")
    return outputs if isinstance(outputs, dict) else {}
