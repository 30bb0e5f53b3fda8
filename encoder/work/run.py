"""`sae-encode run` and `encoder.encode_files`: submit, work until all is done, say how it went.

The queue is `<out>/.queue`: gone when everything is done; what is left of an interrupted run is in it. Several runs
with the same SAE may work on one folder at a time.
"""

from __future__ import annotations

import secrets
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from encoder.errors import EncodeError, InputError
from encoder.file.csr import Values
from encoder.file.folder import Features, open_features
from encoder.machine.devices import pick_device
from encoder.machine.signals import BOTH, signals
from encoder.options import Backend, Options
from encoder.queue.queue import Queue, Status
from encoder.queue.ticket import Ticket
from encoder.readers import select_of
from encoder.sae.sae import LoadedSae
from encoder.work.display import open_display
from encoder.work.named import SaeLike, folded, loaded, name_of
from encoder.work.processes import work_in_processes
from encoder.work.resume import check_folder, check_resumes, finished
from encoder.work.submit import inputs_of, tickets_of
from encoder.work.totals import Display, Totals
from encoder.work.worker import Worker
from saefetch.terminal.progress import Progress

QUEUE_NAME = ".queue"
N_TOLD = 3
"""Failed shards that the message of an EncodeError names; all are in its outcome."""


def encode_files(
    inputs: str | Path | Iterable[str | Path],
    out: str | Path,
    sae: SaeLike,
    *,
    workers: int = 1,
    select: str | Mapping[str, object] | None = None,
    axes: str | Iterable[str] | None = None,
    strict: bool = False,
    progress: Progress = True,
    device: str = "auto",
    backend: Backend = "auto",
    values: Values = "float32",
    fold_decoder_norm: bool = False,
    batch_tokens: int = 4096,
    max_attempts: int = 3,
    lease_s: float = 60.0,
) -> Features:
    """Encode activation files, or folders of them, into `out`, one .npz a shard; what `sae-encode run` does.

    `sae` is what `load_sae` returns, a path or (release, id). Each keyword is the flag of that name. What is finished
    already is not done again, so the same call resumes. `progress` is shown, or not, or is called as
    progress(done, total, text), in shards.

    Raises: InputError or MismatchError before any work; EncodeError when some shards failed and all others are done;
    KeyboardInterrupt when it was interrupted: finished shards are safe.
    """
    options = Options(
        device=device,
        backend=backend,
        batch_tokens=batch_tokens,
        values=values,
        fold_decoder_norm=fold_decoder_norm,
        workers=workers,
        lease_s=lease_s,
        max_attempts=max_attempts,
        strict=strict,
    )
    paths = [Path(one) for one in ([inputs] if isinstance(inputs, str | Path) else inputs)]
    if not paths:
        raise InputError("inputs is empty: name at least one file or folder of activations")
    chosen = select_of(select, axes)
    ended = run(paths, Path(out), sae, options, select=chosen, progress=progress, catching=(signal.SIGINT,))
    if ended.stopped_by:
        raise KeyboardInterrupt
    if ended.n_missing:
        raise EncodeError(ended.complaint(), ended.outcome)
    return open_features(Path(out))


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended: `outcome` is what `--json` prints, `stopped_by` the signal that stopped it, or 0."""

    outcome: dict[str, Any]
    stopped_by: int

    @property
    def n_missing(self) -> int:
        """How many shards have no result: failed, or not done yet."""
        return len(self.outcome["errors"]) + int(self.outcome["ready"]) + int(self.outcome["claimed"])

    def complaint(self) -> str:
        errors = self.outcome["errors"]
        told = [f"{job}: {error}" for job, error in list(errors.items())[:N_TOLD]]
        if len(errors) > N_TOLD:
            told.append(f"and {len(errors) - N_TOLD:,} more, which are in outcome['errors']")
        if left := self.n_missing - len(errors):
            told.append(f"{left:,} are not done yet")
        return f"{self.n_missing:,} of {self.outcome['shards']:,} shards were not encoded: {'; '.join(told)}"


def run(
    inputs: Sequence[Path],
    out: Path,
    sae: SaeLike,
    options: Options,
    *,
    select: dict[str, str],
    progress: Progress,
    catching: Iterable[int] = BOTH,
) -> Ended:
    """Encode all inputs into `out`, until all is done or one of the signals `catching` comes.

    Raises: InputError, MismatchError before any work; what a function `progress` raises, once the work has stopped.
    """
    began = time.monotonic()
    if options.fold_decoder_norm:
        sae = folded(sae)
    name = name_of(sae)
    pick_device(options.device)
    stopping = threading.Event()
    listener = _Listener(progress, stopping) if callable(progress) else None
    with open_display(listener or progress) as display:
        found = inputs_of(inputs, unread=lambda path: display.say(_not_read(path)))
        sae = loaded(sae)  # not before all that costs nothing to refuse: SAELens takes seconds
        tickets = tickets_of(found, out, name, select, weights_sha256=sae.identity["weights_sha256"])
        with signals(stopping.set, catching) as caught:
            totals, n_finished, status = _work_off(tickets, out, sae, options, select, display, stopping)
    if listener is not None and listener.raised is not None:
        raise listener.raised
    outcome = {
        **asdict(totals),
        "shards": len(tickets),
        "skipped": totals.skipped + n_finished,
        "ready": len(status.ready) if status else 0,
        "claimed": len(status.claimed) if status else 0,
        "failed": len(status.failed) if status else 0,
        "errors": status.failed if status else {},
        "elapsed_s": round(time.monotonic() - began, 3),
        "out": str(out),
    }
    return Ended(outcome, caught[0] if caught else 0)


def _work_off(
    tickets: list[Ticket],
    out: Path,
    sae: LoadedSae,
    options: Options,
    select: dict[str, str],
    display: Display,
    stopping: threading.Event,
) -> tuple[Totals, int, Status | None]:
    """Work until nothing is left to do; return what was done, how many were finished before, where the jobs are."""
    settings: dict[str, Any] = {"weights_sha256": sae.identity["weights_sha256"], "values": options.values}
    check_folder(out, settings)
    unfinished = partial(_unfinished, tickets, {**settings, "select": select}, options.strict)
    to_do, totals, status, root = unfinished(), Totals(), None, out / QUEUE_NAME
    n_finished = len(tickets) - len(to_do)
    while status is None and not stopping.is_set() and (to_do or root.is_dir()):
        try:
            queue = Queue(root, lease_s=options.lease_s, max_attempts=options.max_attempts, create=True)
        except OSError as exc:
            raise InputError(f"--out {out}: results cannot be written there: {exc.strerror}") from exc
        check_resumes(queue, tickets, again=True)
        queue.submit(to_do, again=True)
        if options.workers == 1:
            worker = Worker(queue, options, display, sae=sae, stopping=stopping)
            try:
                worker.run()
            finally:
                totals.add(worker.totals)
        else:
            totals.add(work_in_processes(queue, options, display, stopping))
        status = _end(queue)
        to_do = unfinished() if status is None else []
    return totals, n_finished, status


def _unfinished(tickets: list[Ticket], settings: dict[str, Any], strict: bool) -> list[Ticket]:
    return [one for one in tickets if not finished(Path(one.out), Path(one.shard), settings, strict=strict)]


def _end(queue: Queue) -> Status | None:
    """Return where the jobs are, and remove the queue if all are done; None if another run removed it before."""
    try:
        status = queue.status()
        if status.is_finished and not status.failed:
            queue.root.rename(queue.root.with_name(f"{QUEUE_NAME}.{secrets.token_hex(4)}"))  # gone at once, for others
            for over in queue.root.parent.glob(f"{QUEUE_NAME}.*"):
                shutil.rmtree(over, ignore_errors=True)
    except FileNotFoundError:
        return None
    return status


def _not_read(path: Path) -> str:
    return f"note: {path} is not read: no format here has the ending {path.suffix}"


class _Listener:
    """The user's function. What it raises stops the work in order, and is not taken for the fault of a shard."""

    def __init__(self, function: Callable[[int, int, str], object], stopping: threading.Event) -> None:
        self._function, self._stopping = function, stopping
        self.raised: BaseException | None = None

    def __call__(self, done: int, total: int, text: str) -> None:
        if self.raised is None:
            try:
                self._function(done, total, text)
            except BaseException as exc:
                self.raised = exc
                self._stopping.set()
