"""What runs on a machine of the cluster: one worker, which loads the SAE itself and keeps it.

Everything that comes in and goes out is a string, also what went wrong: an exception would have to be unpickled by the
driver. `sign` and `stop` are called while `encode` is at work, in a thread of their own.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import traceback
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import saefetch
from encoder.engines.cluster.attempt import Attempt
from encoder.engines.cluster.letters import Card, Receipt, ticket_of
from encoder.engines.cluster.strays import MARK
from encoder.errors import InputError, MismatchError
from encoder.file.beside import RUN
from encoder.machine.scratch import Scratch
from encoder.options import Options
from encoder.queue.publish import Unpublished
from encoder.queue.ticket import targets_of
from encoder.stores.object_path import Places
from encoder.stores.opened import open_store
from encoder.work.display import Quiet
from encoder.work.made import is_for_good, words_of
from encoder.work.progress import Progress
from saefetch.errors import SaefetchError
from saefetch.files.digest import Stopped

if TYPE_CHECKING:
    from encoder.work.job import JobEncoder
    from encoder.work.made import Made

MAX_TRACE = 20_000
"""Characters that are kept of the end of a traceback."""


class Encoder:
    """One worker. The actor's `brief` comes in pieces, see `letters`; nothing is loaded before `prepare`."""

    def __init__(self, *brief: str) -> None:
        self._brief: dict[str, Any] = json.loads("".join(brief))
        self._owner = f"{MARK}{self._brief['run']}-{secrets.token_hex(4)}"
        self._notes, self._stop = _Notes(), threading.Event()
        self._places, self._scratch = Places(), Scratch()
        self._jobs: JobEncoder | None = None

    def prepare(self, node: str) -> str:
        """Load what every shard needs, and return a `Card`."""
        host = socket.gethostname()
        try:
            self._look_around(host)
            self._load()
        except Exception as exc:  # whatever it is, it is this worker's affair and not a shard's
            error = str(exc) if isinstance(exc, SaefetchError) else f"{host}: {traceback.format_exc()}"
            return Card(host, node, os.getpid(), error[-MAX_TRACE:], self._notes.said()).to_json()
        return Card(host, node, os.getpid(), said=self._notes.said()).to_json()

    def encode(self, letter: str) -> str:
        """Encode a shard and publish its results; return a `Receipt`."""
        receipt = self._encode(letter)
        receipt.said = self._notes.said()
        return receipt.to_json()

    def _encode(self, letter: str) -> Receipt:
        ticket = ticket_of(self._brief, letter)
        self._places.forget()  # others have made results since
        claim = f"{ticket.attempts}.{self._owner}.{secrets.token_hex(4)}"
        attempt = Attempt(ticket, claim, self._places, self._scratch.folder)
        try:
            assert self._jobs is not None  # `prepare` comes first
            with self._jobs.encoded(attempt, self._stop.is_set) as made:
                attempt.publish(made.outputs)
                return _receipt_of(made)
        except Stopped:
            return Receipt(ticket.job, "stopped")
        except MismatchError as exc:
            return Receipt(ticket.job, "misfit", error=str(exc))
        except Exception as exc:
            for_good = exc.for_good if isinstance(exc, Unpublished) else is_for_good(exc)
            trace = traceback.format_exc()[-MAX_TRACE:]
            return Receipt(ticket.job, "failed", error=words_of(exc), traceback=trace, for_good=for_good)

    def sign(self) -> str:
        """Return what was said, and how far the shard in hand is, as lines of a `Report`; nothing is a sign too."""
        return json.dumps({"said": self._notes.said(), "progress": self._notes.progress()})

    def stop(self) -> None:
        """Finish the batch, and give up the shard."""
        self._stop.set()

    def close(self) -> None:
        """Leave nothing on this machine."""
        self._scratch.remove()

    def _look_around(self, host: str) -> None:
        """Make sure that this machine runs the same program and sees the same places as the driver.

        Raises: InputError.
        """
        version, out = self._brief["version"], self._brief["place"]
        if version != saefetch.__version__:
            raise InputError(
                f"{host} has saefetch {saefetch.__version__}, and this machine {version}: install the same everywhere"
            )
        try:
            open_store(out).read(RUN)
        except OSError as exc:
            raise InputError(
                f"{host} does not see what this machine has written to {out}: --out has to be a folder that all"
                " machines share, or an address"
            ) from exc
        for root in self._brief["roots"]:
            if "://" not in root and not os.path.exists(root):  # noqa: PTH110 - a name, not worth a Path
                raise InputError(
                    f"{host} does not see {root}: INPUT has to be a folder that all machines share, or an address"
                )

    def _load(self) -> None:
        """Take torch along, and the first SAE: where that fails here, it is not the fault of a shard."""
        from encoder.work.job import JobEncoder

        self._jobs = JobEncoder(Options(**self._brief["options"]), self._notes)
        first = targets_of(self._brief["sae"], "_", self._brief["extra"].get("weights_sha256"))[0]
        self._jobs.load(first)


def _receipt_of(made: Made) -> Receipt:
    """Say what became of a job, as `Worker` decides it."""
    job, result = made.ticket.job, made.result()
    if made.errors or (made.failed and not made.left):
        made.did.failed = 1
        trace, for_good = made.trace[-MAX_TRACE:], not made.errors
        return Receipt(job, "failed", made.line, made.did, result, made.error, trace, for_good)
    return Receipt(job, "again" if made.left else "done", made.line, made.did, result)


class _Notes(Quiet):
    """Keeps what is to be told until the driver asks; of a shard's progress only the last word."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said: list[str] = []
        self._begun: dict[str, Any] | None = None
        self._advanced: dict[str, Any] | None = None

    def begin(self, job: str, n_rows: int) -> None:
        with self._lock:
            self._begun, self._advanced = {"event": "begin", "job": job, "n_rows": n_rows}, None

    def advance(self, job: str, progress: Progress) -> None:
        with self._lock:
            self._advanced = {"event": "advance", "job": job, "progress": asdict(progress)}

    def say(self, line: str) -> None:
        with self._lock:
            self._said.append(line)

    def said(self) -> list[str]:
        """Return what was said since this was asked before."""
        with self._lock:
            said, self._said = self._said, []
        return said

    def progress(self) -> list[str]:
        """Return how far the shard is, where that is news."""
        with self._lock:
            news = [json.dumps(one) for one in (self._begun, self._advanced) if one is not None]
            self._begun = self._advanced = None
        return news
