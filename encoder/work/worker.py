"""The loop of one worker process: claim a job, have it encoded, end the claim; again until there is nothing left.

    claim -> encode, renewing the lease -> done; back to ready where SAEs of the job are left
      `- stop: put back   `- fenced: drop it   `- anything else: fail, with the traceback in the ticket

A shard or an SAE that is at fault itself fails in its first attempt; disks and networks get `max_attempts`.

What goes wrong with a shard fails its job and no other. The one broad `except` of the package stands here. A worker
whose own settings do not fit the results that are there puts the job back and ends: it would fail them all.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Sequence
from functools import partial

from encoder.errors import EncoderError, FencedError, MismatchError
from encoder.options import Options
from encoder.queue.claim import Claim
from encoder.queue.heartbeat import heartbeat
from encoder.queue.queue import Queue
from encoder.sae.sae import LoadedSae
from encoder.work.job import JobEncoder
from encoder.work.made import FULL, Made, is_for_good, words_of
from encoder.work.totals import Display, Totals
from encoder.work.watch import Watch
from saefetch.files.digest import Stopped

POLL_S = 0.2


class Worker:
    """Works on one queue until it is finished, or for ever with `watch`. `stop` may be called from a signal handler.

    `saes` are loaded already. `stopping` is an event that others set to stop this worker. The last error of a
    job is told by whoever sums up, or by this worker with `tells_errors`.
    Raises: InputError if there is no such device.
    """

    def __init__(
        self,
        queue: Queue,
        options: Options,
        display: Display,
        *,
        saes: Sequence[LoadedSae] = (),
        stopping: threading.Event | None = None,
        tells_errors: bool = True,
    ) -> None:
        self._tells_errors = tells_errors
        self._queue, self._lease_s, self._display = queue, options.lease_s, display
        self._stop = stopping or threading.Event()
        self._jobs = JobEncoder(options, display, tuple(saes))
        self._is_watching = False
        self.totals = Totals()

    def stop(self) -> None:
        """Finish the batch, put the job back, end."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def run(self, watch: Watch | None = None) -> None:
        """Work; end also where the queue is gone, as another run that was done with it removes it.

        Raises: MismatchError if these options do not go with the SAE, or with the results that are there; EncoderError
        if the disk is full.
        """
        self._is_watching = watch is not None
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
            try:
                self._queue.reclaim_expired()
                claim = self._queue.claim()
            except OSError as exc:
                self._wait_for_room(exc)
                continue
            if claim is not None:
                self._count()
                self._work(claim)
                self._count()
            elif watch is None and self._queue.status().is_finished:
                return
            else:
                self._stop.wait(POLL_S)

    def _wait_for_room(self, exc: OSError) -> None:
        """Wait a moment where the disk is full and this worker goes on for ever.

        Raises: EncoderError where the disk is full and it does not: nothing goes on until somebody makes room; the
        error itself where it is another.
        """
        if exc.errno not in FULL:
            raise exc
        if not self._is_watching:
            raise EncoderError(
                f"{self._queue.root}: cannot be written: {exc.strerror}; finished shards are safe. Make room, and"
                " start again"
            ) from exc
        self._stop.wait(POLL_S)

    def _count(self) -> None:
        states = self._queue.states()
        self._display.overall(sum(state in ("done", "failed") for state in states.values()), len(states))

    def _work(self, claim: Claim) -> None:
        job = claim.ticket.job
        try:
            with (
                heartbeat(claim, self._lease_s) as lost,
                self._jobs.encoded(claim, lambda: self.stopped or lost.is_set()) as made,
            ):
                self._decide(claim, made)
        except (Stopped, MismatchError) as exc:
            is_back = self._give_up(claim, claim.put_back)
            self._end(job, "put back" if is_back else "dropped")
            if isinstance(exc, MismatchError):
                raise
        except FencedError as exc:
            self._end(job, str(exc))
        except Exception as exc:
            error, trace, for_good = words_of(exc), traceback.format_exc(), is_for_good(exc)
            self._say_failed(claim, error, for_good)
            self._give_up(claim, lambda: claim.fail(error, trace, for_good=for_good))

    def _decide(self, claim: Claim, made: Made) -> None:
        """End the claim by what was made of its job: done, failed, or back for the SAEs that are left."""
        result, outputs = made.result(), made.outputs
        if made.errors or (made.failed and not made.left):
            for_good = not made.errors
            self._say_failed(claim, made.error, for_good, made.did)
            fail = partial(claim.fail, made.error, made.trace, for_good=for_good, result=result, outputs=outputs)
            self._give_up(claim, fail)
            return
        if made.left:
            claim.put_back(result, outputs)
        else:
            claim.done(result, outputs)
        self._end(claim.ticket.job, made.line, made.did)

    def _say_failed(self, claim: Claim, error: str, for_good: bool, did: Totals | None = None) -> None:
        attempts, did = claim.ticket.attempts, did or Totals()
        is_last = for_good or attempts >= self._queue.max_attempts
        says = f": {error}" if self._tells_errors or not is_last else ""
        did.failed = 1
        self._end(claim.ticket.job, f"failed in attempt {attempts}{says}", did)

    def _end(self, job: str, line: str, did: Totals | None = None) -> None:
        did = did or Totals()
        self.totals.add(did)
        self._display.end(job, line, did)

    def _give_up(self, claim: Claim, move: Callable[[], None]) -> bool:
        """Move the job; where that is not possible, say why: its lease runs out, and it goes back by itself.

        Raises: EncoderError where the disk is full, as `_wait_for_room` does.
        """
        try:
            move()
        except (FencedError, OSError) as exc:
            if isinstance(exc, OSError) and exc.errno in FULL:
                self._wait_for_room(exc)
            self._display.say(str(exc) if isinstance(exc, FencedError) else f"{claim.ticket.job}: {exc}")
            return False
        return True
