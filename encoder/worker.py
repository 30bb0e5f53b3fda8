"""One worker process: claim a job, encode its shard, publish the result; again until there is nothing left.

What goes wrong with a shard fails its job and no other. The one broad `except` of the package stands here.
"""

from __future__ import annotations

import json
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from encoder.claim import Claim
from encoder.csr import CsrWriter
from encoder.encode import Progress, Stopped, encode_shard
from encoder.errors import FencedError, InputError, ShardError
from encoder.inbox import Inbox
from encoder.kernels import Kernel, make_kernel
from encoder.options import Options
from encoder.queue import Queue
from encoder.readers import open_shards
from encoder.sae import LoadedSae, load_sae
from encoder.submit import finished, inputs_of, tickets_of
from encoder.ticket import Ticket

POLL_S = 0.2


class Display(Protocol):
    """Hears what a worker does."""

    def begin(self, job: str, n_rows: int) -> None: ...

    def advance(self, job: str, progress: Progress) -> None: ...

    def end(self, job: str, line: str) -> None: ...

    def say(self, line: str) -> None: ...


@dataclass(slots=True)
class Totals:
    """What this worker did. `skipped` were finished before."""

    done: int = 0
    skipped: int = 0
    failed: int = 0
    rows: int = 0
    nnz: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


class Worker:
    """Works on one queue until it is finished, or for ever with `watch`. `stop` may be called from a signal handler."""

    def __init__(self, queue: Queue, options: Options, display: Display, *, sae: LoadedSae | None = None) -> None:
        self._queue, self._options, self._display = queue, options, display
        self._stop = threading.Event()
        self._loaded: dict[str, tuple[LoadedSae, Kernel]] = {}
        self._given = sae
        self.totals = Totals()

    def stop(self) -> None:
        """Finish the batch, put the job back, end."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def run(self, watch: Watch | None = None) -> None:
        while not self.stopped:
            if watch is not None:
                watch.submit_what_came(self._queue, self._display)
            self._queue.reclaim_expired()
            claim = self._queue.claim()
            if claim is not None:
                self._work(claim)
            elif watch is None and self._queue.status().is_finished:
                return
            else:
                self._stop.wait(POLL_S)

    def _work(self, claim: Claim) -> None:
        job = claim.ticket.job
        try:
            with _heartbeat(claim, self._options.lease_s) as lost:
                line = self._encode(claim, lost)
            self._display.end(job, line)
        except Stopped:
            with suppress(FencedError):
                claim.put_back()
            self._display.end(job, "put back")
        except FencedError as exc:
            self._display.end(job, str(exc))
        except Exception as exc:
            self.totals.failed += 1
            self._display.end(job, f"failed in attempt {claim.ticket.attempts}: {exc}")
            with suppress(FencedError):
                claim.fail(str(exc) or type(exc).__name__, traceback.format_exc())

    def _encode(self, claim: Claim, lost: threading.Event) -> str:
        ticket, options, began = claim.ticket, self._options, time.perf_counter()
        sae, kernel = self._sae_of(ticket)
        select = {str(key): str(value) for key, value in ticket.select.items()}
        settings = {"weights_sha256": sae.identity["weights_sha256"], "values": options.values, "select": select}
        if finished(ticket, settings):
            claim.done()
            self.totals.skipped += 1
            return "finished before"
        (shard,) = open_shards(
            claim.shard, d_in=sae.d_in, select=select, root=Path(str(ticket.extra.get("root", claim.shard.parent)))
        )
        self._display.begin(ticket.job, shard.n_rows)
        claim.out.parent.mkdir(parents=True, exist_ok=True)
        suffix = claim.temporary.name.removeprefix(f"{claim.out.name}.").removesuffix(".tmp")
        last = Progress()

        def watch(progress: Progress) -> None:
            nonlocal last
            last = progress
            self._display.advance(ticket.job, progress)

        with CsrWriter(claim.out, sae.d_sae, values=options.values, suffix=suffix) as writer:  # type: ignore[arg-type]
            quality = encode_shard(
                shard,
                sae,
                kernel,
                writer,
                batch_tokens=options.batch_tokens,
                select=select,
                values=options.values,
                stopping=lambda: self.stopped or lost.is_set(),
                watch=watch,
            )
            warning = quality.warning(sae.expected_l0)
            if warning is not None:
                self.totals.warnings.append(f"{claim.shard}: {warning}")
                if options.strict:
                    raise ShardError(f"{claim.shard}: {warning}")
                self._display.say(f"warning: {claim.shard.name}: {warning}")
            seconds = time.perf_counter() - began
            claim.done({"rows": shard.n_rows, "nnz": writer.nnz, "seconds": round(seconds, 3), "warning": warning})
        self._tally(shard.n_rows, writer.nnz, last)
        l0 = writer.nnz / max(1, shard.n_rows)
        return f"{shard.n_rows:,} tokens, L0 {l0:.1f}, {shard.n_rows / max(seconds, 1e-9):,.0f} tokens/s"

    def _tally(self, n_rows: int, nnz: int, progress: Progress) -> None:
        totals = self.totals
        totals.done, totals.rows, totals.nnz = totals.done + 1, totals.rows + n_rows, totals.nnz + nnz
        for stage, seconds in progress.seconds.items():
            totals.seconds[stage] = totals.seconds.get(stage, 0.0) + seconds

    def _sae_of(self, ticket: Ticket) -> tuple[LoadedSae, Kernel]:
        """Return the ticket's SAE and a kernel for it; the last one used stays loaded."""
        key = json.dumps(dict(ticket.sae), sort_keys=True)
        if key not in self._loaded:
            path = ticket.sae.get("sae_path")
            sae = self._given or load_sae(
                ticket.sae.get("sae_release"), ticket.sae.get("sae_id"), Path(path) if path else None
            )
            kernel = make_kernel(sae, pick_device(self._options.device), self._options.backend)
            for note in sae.notes:
                self._display.say(f"note: {note}")
            self._display.say(
                f"{sae.architecture} SAE, {sae.d_in:,} -> {sae.d_sae:,}, kernel {kernel.name} on {kernel.device}"
            )
            self._loaded = {key: (sae, kernel)}
        return self._loaded[key]


class Watch:
    """Submits what is dropped into the queue's inbox, once it has come to rest."""

    def __init__(self, queue: Queue, out: Path, sae: dict[str, Any], select: dict[str, str], stable_s: float) -> None:
        self._inbox = Inbox(queue.root / "inbox", stable_s)
        self._out, self._sae, self._select = out, sae, select

    def submit_what_came(self, queue: Queue, display: Display) -> None:
        for path in self._inbox.take():
            try:
                queue.submit(tickets_of(inputs_of([path]), self._out, self._sae, self._select), again=True)
            except InputError as exc:
                display.say(f"inbox: {exc}")


@contextmanager
def _heartbeat(claim: Claim, lease_s: float) -> Iterator[threading.Event]:
    """Renew the lease while the block runs; the event is set when it is lost."""
    lost, over = threading.Event(), threading.Event()

    def beat() -> None:
        while not over.wait(lease_s / 4):
            try:
                claim.renew()
            except FencedError:
                lost.set()
                return
            except OSError:
                continue  # a network folder's hiccup; the lease says when it is too late

    thread = threading.Thread(target=beat, name="lease", daemon=True)
    thread.start()
    try:
        yield lost
    finally:
        over.set()
        thread.join()


def pick_device(name: str) -> torch.device:
    """Return the device that is named; `auto` is cuda, then mps, then cpu. Raises: InputError if it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as exc:
        raise InputError(f"--device {name}: expected auto, cpu, cuda, cuda:N or mps") from exc
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise InputError(f"--device {name}: torch sees {torch.cuda.device_count()} CUDA devices; use --device cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("--device mps: not available here; use --device cpu")
    if device.type not in ("cpu", "cuda", "mps"):
        raise InputError(f"--device {name}: expected auto, cpu, cuda, cuda:N or mps")
    return device
