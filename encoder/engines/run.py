"""`sae-encode run` and `encoder.encode_files`: inputs become jobs, the jobs are worked off, the end is summed up."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from encoder.engines.cluster.connect import check_usable
from encoder.engines.cluster.work import RayWork
from encoder.errors import EncodeError, InputError
from encoder.file.csr import Values
from encoder.machine.devices import check_device, pick_device
from encoder.machine.signals import BOTH, signals
from encoder.options import Backend, Engine, Options
from encoder.readers import select_of
from encoder.rows import Exclude
from encoder.stores.address import check_is_written_to
from encoder.stores.object_path import Places, path_of
from encoder.work.display import open_display
from encoder.work.failures import Failure, remove_failures, write_failures
from encoder.work.named import SaesLike, folded, loaded_in, names_of
from encoder.work.parts import Part
from encoder.work.rounds import QUEUE_NAME, Work, workplace
from encoder.work.submit import Input, inputs_of, is_result, strictly, tickets_of, why_not_read
from encoder.work.survey import Survey
from encoder.work.wanted import Wanted
from saefetch.terminal.progress import Progress

NOTHING_FOR_ANY = "no shard has activations for any of the SAEs; are these the SAEs of the layers that were captured?"
NEW_REVISION = "the SAE is another one now than when it was loaded last: its repository has a new revision"
ALONE = "note: --ray-address and --num-gpus are for --engine ray: without it, this machine works alone"
N_TOLD = 3
"""Failed shards that the message of an EncodeError names; all are in its outcome."""


def encode_files(
    inputs: str | Path | Iterable[str | Path],
    out: str | Path,
    sae: SaesLike,
    *,
    workers: int | None = None,
    select: str | Mapping[str, object] | None = None,
    axes: str | Iterable[str] | None = None,
    dtype: str | None = None,
    shape: str | Iterable[int] | None = None,
    prefix: str | None = None,
    part: str | None = None,
    exclude_tokens: str | int | Iterable[int] = (),
    exclude_first: int = 0,
    exclude_norm: float | None = None,
    strict: bool = False,
    saes_at_once: int | None = None,
    progress: Progress = True,
    engine: Engine = "local",
    ray_address: str | None = None,
    num_cpus: float = 1.0,
    num_gpus: float | None = None,
    device: str = "auto",
    backend: Backend = "auto",
    values: Values = "float32",
    fold_decoder_norm: bool = False,
    batch_tokens: int = 4096,
    max_attempts: int = 3,
    lease_s: float = 60.0,
) -> Any:
    """Encode activation files, or folders of them, into `out`, one .npz a shard; what `sae-encode run` does.

    `sae` is what `load_sae` returns, a path or (release, id); the result is `Features`. An id that is a pattern, or a
    list, means several SAEs, for which each shard is read once: the features of each go to a folder of its own below
    `out`, and the result is a dict of them, by the name of the folder. Each keyword is the flag of that name. What is
    finished already is not done again, so the same call resumes. `progress` is shown, or not, or is called as
    progress(done, total, text), in shards.

    Raises: InputError or MismatchError before any work; EncodeError when some shards failed and all others are done;
    KeyboardInterrupt when it was interrupted: finished shards are safe.
    """
    exclude = Exclude.of(exclude_tokens, exclude_first, exclude_norm)
    options = Options(
        exclude_tokens=",".join(map(str, exclude.tokens)),
        exclude_first=exclude.first,
        exclude_norm=exclude.norm,
        device=device,
        backend=backend,
        batch_tokens=batch_tokens,
        values=values,
        fold_decoder_norm=fold_decoder_norm,
        workers=workers,
        saes_at_once=saes_at_once,
        lease_s=lease_s,
        max_attempts=max_attempts,
        strict=strict,
        engine=engine,
        ray_address=ray_address,
        num_cpus=num_cpus,
        num_gpus=num_gpus,
    )
    paths = [path_of(one) for one in ([inputs] if isinstance(inputs, str | Path) else inputs)]
    out = path_of(out)
    if not paths:
        raise InputError("inputs is empty: name at least one file or folder of activations")
    chosen = select_of(select, axes, dtype, shape)
    ended = run(
        paths, out, sae, options, select=chosen, prefix=prefix, part=part, progress=progress, catching=(signal.SIGINT,)
    )
    if ended.stopped_by:
        raise KeyboardInterrupt
    if ended.n_missing:
        raise EncodeError(ended.complaint(), ended.outcome)
    from encoder.file.folder import open_features  # takes scipy along

    saes = ended.outcome.get("saes")
    if saes is None:
        return open_features(out)
    return {one["folder"]: open_features(out / one["folder"]) for one in saes if one["results"]}


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended: `outcome` is what `--json` prints, `stopped_by` the signal that stopped it, or 0.

    `settings` are those that its results have in common, and `has_results` says that there are some.
    """

    outcome: dict[str, Any]
    stopped_by: int
    settings: dict[str, Any]
    has_results: bool

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
    sae: SaesLike,
    options: Options,
    *,
    select: dict[str, str],
    prefix: str | None = None,
    part: str | None = None,
    progress: Progress,
    catching: Iterable[int] = BOTH,
) -> Ended:
    """Encode all inputs into `out`, or the `part` I/N of them, until all is done or a signal of `catching` comes.

    Raises: InputError, MismatchError before any work; what a function `progress` raises, once the work has stopped.
    """
    began = time.monotonic()
    if options.fold_decoder_norm:
        sae = folded(sae)
    names, share = names_of(sae), None if part is None else Part.parse(part)
    if options.engine == "local":
        check_device(options.device)
    else:  # a cluster's machines have other devices than this one
        check_usable(options.ray_address)
    stopping = threading.Event()
    listener = _Listener(progress, stopping) if callable(progress) else None
    unread: list[Path] = []
    check_is_written_to(out)
    place = Places([*inputs, out])
    inputs, out = [place(path) for path in inputs], place(out)
    queue_name = QUEUE_NAME if share is None else share.queue_name
    with workplace(out, queue_name) as root, open_display(listener or progress) as display:
        if options.engine == "local" and (options.ray_address or options.num_gpus is not None):
            display.say(ALONE)
        found = inputs_of(inputs, unread=unread.append, prefix=prefix, select=select)
        unread = [path for path in unread if not is_result(path, out)]
        for path in unread:
            display.say(f"note: {why_not_read(path)}")
        survey = Survey(names, found, select)
        if survey.missing:
            if not survey.names["saes"]:
                raise InputError(f"{NOTHING_FOR_ANY} {next(iter(survey.missing.values()))}")
            shown = ", ".join(survey.missing)
            display.say(f"note: {len(survey.missing):,} SAEs are not loaded, as no shard is for them: {shown}")
        if share is not None:
            found = share.of_inputs(found)
        wanted = Wanted(
            survey.names, loaded_in(sae), options, display.say
        )  # not before all that costs nothing to refuse
        impossible = {item.job: reason for item in found if (reason := item.why_no_job) is not None}
        exclude = options.exclude.document()
        settings = {"values": options.values, "exclude": exclude, "select": select}

        def work_for(weights: dict[str, str]) -> Work:
            weights_sha256 = weights if survey.of_several else weights[""]
            tickets = tickets_of(found, out, survey.names, select, weights_sha256=weights_sha256, exclude=exclude)
            tickets = [ticket for ticket in tickets if ticket.job not in impossible]
            make = RayWork if options.engine == "ray" else Work
            return make(tickets, out, wanted.in_hand, options, settings, display, stopping, root, place)

        known = wanted.weights
        work = work_for(known)
        if work.is_needed:
            if options.engine == "local":
                pick_device(options.device)
                if options.workers in (None, 1):
                    wanted.load_the_only_one()
            if wanted.weights != known:
                display.say(f"note: {NEW_REVISION}")
                work = work_for(wanted.weights)
            work.claim_folders()
        with signals(stopping.set, catching) as caught:  # what comes before is left at once
            work.do()
    _tell_failures(work, found, out, impossible, survey.names)
    has_results = work.release_folders()
    if listener is not None and listener.raised is not None:
        raise listener.raised
    status = work.status
    errors = {**work.failed, **impossible, **work.taken}
    of_saes: dict[str, Any] = {}
    if survey.of_several:
        of_saes = {"saes": survey.told(work.summary()), "without_sae": list(work.by_sae.without_sae)}
        if found and not errors and not caught and not any(one["results"] for one in of_saes["saes"]):
            errors[str(out)] = NOTHING_FOR_ANY
    if options.strict:
        errors |= strictly(unread)
    outcome = {
        **asdict(work.totals),
        "shards": len(found),
        "skipped": work.totals.skipped + work.n_finished,
        "ready": len(status.ready) if status else 0,
        "claimed": len(status.claimed) if status else 0,
        "failed": len(errors),
        "errors": errors,
        **of_saes,
        **work.told,
        "not_read": [str(path) for path in unread],
        "elapsed_s": round(time.monotonic() - began, 3),
        "out": str(out),
    }
    return Ended(outcome, caught[0] if caught else 0, settings, has_results or bool(outcome["skipped"]))


def _tell_failures(
    work: Work, found: Sequence[Input], out: Path, impossible: Mapping[str, str], sae: Mapping[str, Any]
) -> None:
    """Leave beside the results why others are missing, and nothing of those that are there now."""
    shards = {item.job: str(item.path.absolute()) for item in found}
    failures = {}
    for job, error in {**work.failed, **impossible, **work.taken}.items():
        ticket = work.failed_tickets.get(job)
        if ticket is not None:
            trace, attempts = ticket.traceback or "", ticket.attempts
            failures[job] = Failure(ticket.shard, error, ticket.sae, trace, attempts)
        elif job in shards:
            failures[job] = Failure(shards[job], error, sae)
    write_failures(out, failures)
    remove_failures(out, (one for one in work.done if one[0] not in failures))


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
