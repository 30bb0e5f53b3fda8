"""A claim on a job, and the ways out of it. Which states there are, and why this is safe, is in `encoder.queue`."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from encoder.errors import FencedError, InputError
from encoder.queue.publish import Unpublished, mark_of, publish
from encoder.queue.spool import CLAIM, Name, Spool, new_token, read
from encoder.queue.ticket import Ticket, tombstone
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
        ticket = replace(ticket, error=error[:MAX_ERROR], traceback=traceback and traceback[-MAX_ERROR:])
        if for_good or ticket.attempts >= self.max_attempts:
            return self.move(source, "failed", ticket.job, ticket.to_json())
        return self.move(source, "ready", ticket.job, replace(ticket, worker=None).to_json())

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
            if name.to == "done":
                fsync_folder(self.spool.root / "claimed")
                try:
                    publish(self.spool.root, ticket, temporary_of(self.spool.root / ticket.out, name))
                except Unpublished as exc:
                    self._withdraw(name, ticket, exc)
                    return str(exc)
            if name.to != "done" or name.attempt > 1:
                self.sweep_temporaries(name.job, self.spool.root / ticket.out)
        self.spool.settle(name)
        return None

    def _withdraw(self, name: Name, ticket: Ticket, error: Unpublished) -> None:
        """Give back a job whose output cannot be published, although the verdict was done."""
        # The temporary output goes first: its worker, waking up late, could publish it otherwise. If it cannot be
        # removed, the job stays where it is.
        with suppress(OSError):
            temporary_of(self.spool.root / ticket.out, name).unlink(missing_ok=True)
            self.give_up(self.spool.claimed(name), ticket, str(error), for_good=error.for_good)

    def sweep_temporaries(self, job: str, out: Path) -> None:
        """Remove the half-written files beside `out` of claims that are over, also names made from `temporary`."""
        pattern = re.compile(rf"{re.escape(out.name)}\.({CLAIM})\.(?:.*\.)?tmp", re.DOTALL)
        with suppress(OSError):  # left-over files do no harm
            for path in out.parent.iterdir():
                found = pattern.fullmatch(path.name)
                # A claim's file exists before its output does, first as .json and then as .to-done.json.
                if found and not any(self.spool.claimed(Name.of(job, found[1], to)).exists() for to in ("", "done")):
                    path.unlink(missing_ok=True)


class Claim:
    """A job that this worker has. The worker writes the output to `temporary`, which is in the folder of `out`.

    `done`, `fail` and `put_back` end the claim. FencedError says that the claim had ended before, and that the job is
    another worker's: drop the work and go on. After any other exception from these three, the claim stands.
    """

    def __init__(self, verdicts: Verdicts, name: Name, ticket: Ticket, grip: BinaryIO) -> None:
        self.ticket = ticket
        self.shard = verdicts.spool.root / ticket.shard
        self.out = verdicts.spool.root / ticket.out
        self.temporary = temporary_of(self.out, name)
        self._verdicts = verdicts
        self._spool = verdicts.spool
        self._name = name
        self._path = self._spool.claimed(name)
        self._grip = grip

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

    def done(self, result: dict[str, Any] | None = None, *, is_published: bool = False) -> None:
        """Publish `temporary` as `out` and end the job. `is_published` says that `out` is there already, and right.

        After this call `temporary` belongs to the queue, whatever happened: do not touch that file.
        Raises: FencedError; FileNotFoundError if the file to publish does not exist.
        """
        output = self._make_durable(self.out if is_published else self.temporary)
        extra = {**self.ticket.extra, "output": output}
        ticket = replace(self.ticket, error=None, traceback=None, result=result or {}, extra=extra)
        decided = replace(self._name, to="done")
        grip = self._spool.enter(decided, self._path, ticket.to_json())
        if grip is None:
            self._leave(was_ours=False)
            return
        self._grip.close()
        with grip:
            if error := self._verdicts.roll_forward(decided):
                raise FencedError(f"{self.ticket.job}: {error}; the job is not ours any more")

    def fail(self, error: str, traceback: str | None = None, *, for_good: bool = False) -> None:
        """Give the job back to ready/; to failed/ after `max_attempts`, or `for_good`. Raises: FencedError."""
        self._leave(self._verdicts.give_up(self._path, self.ticket, error, traceback, for_good=for_good))

    def put_back(self) -> None:
        """Give the job back to ready/ as if nobody had claimed it. Raises: FencedError."""
        ticket = replace(self.ticket, attempts=self.ticket.attempts - 1, worker=None)
        self._leave(self._verdicts.move(self._path, "ready", ticket.job, ticket.to_json()))

    def _make_durable(self, path: Path) -> dict[str, int]:
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            self.check()
            raise
        try:
            os.fsync(descriptor)
            mark = mark_of(os.fstat(descriptor))
        finally:
            os.close(descriptor)
        fsync_folder(path.parent)
        return mark

    def _leave(self, was_ours: bool) -> None:
        self._grip.close()
        if not was_ours:
            self._verdicts.sweep_temporaries(self.ticket.job, self.out)
            raise self._fenced()

    def _fenced(self) -> FencedError:
        return FencedError(
            f"{self.ticket.job}: attempt {self._name.attempt} of worker {self._name.owner} is over: its lease was not "
            "renewed in time, and the job was taken away; its output is dropped"
        )


def temporary_of(out: Path, name: Name) -> Path:
    return out.with_name(f"{out.name}.{name.claim}.tmp")
