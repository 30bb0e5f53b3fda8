"""One worker process: claim a job, encode its shard, publish the result; again until there is nothing left.

    claim -> finished before? -> open the shard -> encode, renewing the lease -> done
      `- stop: put back   `- fenced: drop it   `- anything else: fail, with the traceback in the ticket

What goes wrong with a shard fails its job and no other. The one broad `except` of the package stands here. A worker
whose own settings do not fit the results that are there puts the job back and ends: it would fail them all.
"""

from __future__ import annotations

import json
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from encoder.errors import FencedError, InputError, MismatchError, ShardError
from encoder.file.csr import CsrWriter
from encoder.kernels import Kernel, make_kernel
from encoder.machine.devices import pick_device
from encoder.options import Options
from encoder.queue.claim import Claim
from encoder.queue.heartbeat import heartbeat
from encoder.queue.queue import Queue
from encoder.queue.ticket import Ticket
from encoder.readers import open_shards
from encoder.sae.sae import LoadedSae
from encoder.work.encode import Progress, encode_shard
from encoder.work.submit import check_settings, finished, results_in
from encoder.work.watch import Watch
from saefetch.files.digest import Stopped

POLL_S = 0.2
SAE_NAMES = ("sae_release", "sae_id", "sae_path")


class Display(Protocol):
    """Hears what a worker does. `overall` counts the queue's jobs: those that have ended, and all.

    `end` is told what the worker did with the job: these add up to the worker's totals.
    """

    def overall(self, ended: int, total: int) -> None: ...

    def begin(self, job: str, n_rows: int) -> None: ...

    def advance(self, job: str, progress: Progress) -> None: ...

    def end(self, job: str, line: str, did: Totals) -> None: ...

    def say(self, line: str) -> None: ...


@dataclass(slots=True)
class Totals:
    """What this worker did. `skipped` were finished before, `failed` counts attempts; seconds are by stage."""

    done: int = 0
    skipped: int = 0
    failed: int = 0
    rows: int = 0
    nnz: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def add(self, other: Totals) -> None:
        for name in ("done", "skipped", "failed", "rows", "nnz"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for stage, seconds in other.seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
        self.warnings += other.warnings


class Worker:
    """Works on one queue until it is finished, or for ever with `watch`. `stop` may be called from a signal handler.

    `sae` is one that is loaded already. Raises: InputError if there is no such device.
    """

    def __init__(self, queue: Queue, options: Options, display: Display, *, sae: LoadedSae | None = None) -> None:
        self._queue, self._options, self._display = queue, options, display
        self._device = pick_device(options.device)
        self._stop = threading.Event()
        self._loaded: dict[str, tuple[LoadedSae, Kernel]] = {}
        self._given = sae
        self._n_noted = 0
        self._checked: set[tuple[Path, str]] = set()
        self.totals = Totals()

    def stop(self) -> None:
        """Finish the batch, put the job back, end."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def run(self, watch: Watch | None = None) -> None:
        """End also where the queue is gone: another run was done with it.

        Raises: MismatchError if these options do not go with the SAE, or with the results that are there.
        """
        try:
            self._run(watch)
        except FileNotFoundError:
            if self._queue.root.exists():
                raise

    def _run(self, watch: Watch | None) -> None:
        while not self.stopped:
            if watch is not None:
                for line in watch.submit_what_came(self._queue):
                    self._display.say(line)
            self._queue.reclaim_expired()
            claim = self._queue.claim()
            if claim is not None:
                self._count()
                self._work(claim)
                self._count()
            elif watch is None and self._queue.status().is_finished:
                return
            else:
                self._stop.wait(POLL_S)

    def _count(self) -> None:
        states = self._queue.states()
        self._display.overall(sum(state in ("done", "failed") for state in states.values()), len(states))

    def _work(self, claim: Claim) -> None:
        job = claim.ticket.job
        try:
            with heartbeat(claim, self._options.lease_s) as lost:
                line, did = self._encode(claim, lost)
            self._end(job, line, did)
        except (Stopped, MismatchError) as exc:
            is_back = self._give_up(claim, claim.put_back)
            self._end(job, "put back" if is_back else "dropped")
            if isinstance(exc, MismatchError):
                raise
        except FencedError as exc:
            self._end(job, str(exc))
        except Exception as exc:
            error, trace = str(exc) or type(exc).__name__, traceback.format_exc()
            self._end(job, f"failed in attempt {claim.ticket.attempts}: {error}", Totals(failed=1))
            self._give_up(claim, lambda: claim.fail(error, trace))

    def _end(self, job: str, line: str, did: Totals | None = None) -> None:
        did = did or Totals()
        self.totals.add(did)
        self._display.end(job, line, did)

    def _give_up(self, claim: Claim, move: Callable[[], None]) -> bool:
        """Move the job; where that is not possible, say why: its lease runs out, and it goes back by itself."""
        try:
            move()
        except (FencedError, OSError) as exc:
            self._display.say(str(exc) if isinstance(exc, FencedError) else f"{claim.ticket.job}: {exc}")
            return False
        return True

    def _encode(self, claim: Claim, lost: threading.Event) -> tuple[str, Totals]:
        """Encode and publish the shard of a claim, unless it was finished before; return what to say, and was done."""
        ticket = claim.ticket
        sae, kernel = self._sae_of(ticket)
        began = time.perf_counter()
        try:
            status = claim.shard.stat()
        except OSError as exc:
            raise ShardError(f"{claim.shard}: cannot be read: {exc.strerror}") from exc
        select = {str(key): str(value) for key, value in ticket.select.items()}
        settings = {"values": self._options.values, "select": select}

        def stopping() -> bool:
            return self.stopped or lost.is_set()

        if self._is_finished(claim, sae, settings, stopping):
            claim.done({"skipped": True}, is_published=True)
            return "finished before", Totals(skipped=1)
        root = Path(str(ticket.extra.get("root", claim.shard.parent)))
        (shard,) = open_shards(claim.shard, d_in=sae.d_in, select=select, root=root, hook_name=sae.hook_name)
        self._display.begin(ticket.job, shard.n_rows)
        claim.out.parent.mkdir(parents=True, exist_ok=True)
        suffix = claim.temporary.name.removeprefix(f"{claim.out.name}.").removesuffix(".tmp")
        last = Progress()

        def watch(progress: Progress) -> None:
            nonlocal last
            last = progress
            self._display.advance(ticket.job, progress)

        with CsrWriter(claim.out, sae.d_sae, values=self._options.values, suffix=suffix) as writer:
            quality = encode_shard(
                shard,
                sae,
                kernel,
                writer,
                batch_tokens=self._options.batch_tokens,
                settings=settings,
                status=status,
                stopping=stopping,
                watch=watch,
            )
            self._say_new_notes(kernel)
            warning = quality.warning(sae.expected_l0)
            did = Totals(done=1, rows=shard.n_rows, nnz=writer.nnz, seconds=last.seconds)
            if warning is not None:
                self._warn(claim.shard, warning)
                did.warnings.append(f"{claim.shard}: {warning}")
            seconds = time.perf_counter() - began
            claim.done({"rows": shard.n_rows, "nnz": writer.nnz, "seconds": round(seconds, 3), "warning": warning})
        return _in_words(shard.n_rows, writer.nnz, quality.explained_variance, seconds), did

    def _say_new_notes(self, kernel: Kernel) -> None:
        for note in kernel.notes[self._n_noted :]:
            self._display.say(f"note: {note}")
        self._n_noted = len(kernel.notes)

    def _warn(self, shard: Path, warning: str) -> None:
        """Say that a result looks wrong. Raises: ShardError instead, with `strict`."""
        if self._options.strict:
            raise ShardError(f"{shard}: {warning}")
        self._display.say(f"warning: {shard.name}: {warning}")

    def _is_finished(
        self, claim: Claim, sae: LoadedSae, settings: dict[str, Any], stopping: Callable[[], bool]
    ) -> bool:
        """Look at what is there already.

        Raises: MismatchError if it was made with other options than this worker's, ShardError if with another SAE or
        selection than the ticket's.
        """
        folder, weights = claim.out.parent, {"weights_sha256": sae.identity["weights_sha256"]}
        is_new = (folder, str(weights)) not in self._checked
        there = list(results_in(folder, ("values", "weights_sha256"))) if is_new else []
        for path, made_with in there:
            check_settings(path, made_with, {"values": settings["values"]})
        try:
            for path, made_with in there:
                check_settings(path, made_with, weights)
            self._checked.add((folder, str(weights)))
            everything, strict = {**weights, **settings}, self._options.strict
            return finished(claim.out, claim.shard, everything, strict=strict, stopping=stopping)
        except MismatchError as exc:
            raise ShardError(str(exc)) from exc

    def _sae_of(self, ticket: Ticket) -> tuple[LoadedSae, Kernel]:
        """Return the ticket's SAE and a kernel for it; the last one used stays loaded."""
        key = json.dumps(dict(ticket.sae), sort_keys=True)
        if key not in self._loaded:
            sae = self._load(ticket)
            try:
                kernel = make_kernel(sae, self._device, self._options.backend)
            except InputError as exc:  # not the shard's fault, and the same for the next one
                raise MismatchError(str(exc)) from exc
            for note in sae.notes:
                self._display.say(f"note: {note}")
            self._display.say(
                f"{sae.architecture} SAE, {sae.d_in:,} -> {sae.d_sae:,}, kernel {kernel.name} on {kernel.device}:"
                f" {kernel.reason}"
            )
            self._loaded, self._n_noted = {key: (sae, kernel)}, 0
        return self._loaded[key]

    def _load(self, ticket: Ticket) -> LoadedSae:
        given = self._given
        if given is not None and all(ticket.sae.get(name) == given.identity[name] for name in SAE_NAMES):
            return given
        from encoder.sae.load import load_named  # takes SAELens along, in seconds

        return load_named(ticket.sae)


def _in_words(n_rows: int, nnz: int, explained: float | None, seconds: float) -> str:
    says = "" if explained is None else f", explains {explained:.1%} of the variance"
    l0 = nnz / max(1, n_rows)
    return f"{n_rows:,} tokens, L0 {l0:.1f}{says}, {n_rows / max(seconds, 1e-9):,.0f} tokens/s"
