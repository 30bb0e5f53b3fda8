"""One job: its SAEs, whether their results are there already, the encoding of its shard, and what that looks like.

    ticket -> which results are finished -> rows for each SAE (matching.py) -> as many SAEs as are loaded at a time
           (saes.py) -> encode (encode.py) -> quality, notes -> Made (made.py)

What an attempt made is handed over while its files have temporary names; what becomes of the job is the worker's
affair. Where a job has more SAEs than are loaded at a time, an attempt makes a part of it, with one reading of the
shard, and the job comes again for the next part, after the jobs that wait: so an SAE that is loaded is used for all
shards before the next one is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from encoder.errors import MismatchError, ShardError
from encoder.file.csr import CsrWriter
from encoder.machine.devices import pick_device
from encoder.options import Options
from encoder.queue.ticket import Target, Ticket
from encoder.rows import Exclude
from encoder.sae.known import Known
from encoder.sae.sae import LoadedSae
from encoder.stores.object_path import ObjectPath, Places, path_of
from encoder.stores.same import sha256_of, status_now
from encoder.stores.store import MAX_PUT_BYTES
from encoder.work.encode import encode_shard
from encoder.work.made import Made
from encoder.work.matching import Sought, match
from encoder.work.progress import Progress
from encoder.work.resume import check_settings, finished, results_in
from encoder.work.room import check_fits
from encoder.work.saes import Saes
from encoder.work.stream import Stream, Task
from encoder.work.totals import Display
from saefetch.files.digest import Status

MAX_NAMED = 5


class Held(Protocol):
    """A job that somebody has in hand: a `Claim` of the queue, or an attempt that a cluster has given away.

    An output is written to `temporary_for` it.
    """

    ticket: Ticket
    shard: Path

    def place_of(self, target: Target) -> Path: ...

    def temporary_for(self, out: Path) -> Path: ...


class JobEncoder:
    """Encodes job after job. The SAEs of the last jobs stay loaded, with their kernels.

    `given` are SAEs that are loaded already. Raises: InputError if there is no such device.
    """

    def __init__(self, options: Options, display: Display, given: tuple[LoadedSae, ...] = ()) -> None:
        self._options, self._display = options, display
        self._saes = Saes(options, pick_device(options.device), display, given)
        self._known: dict[str, Known] = {}
        self._noted: set[str] = set()
        self._checked: set[tuple[Path, str]] = set()
        self._places = Places()

    def load(self, target: Target) -> None:
        """Load an SAE before the first job that needs it. Raises: as `Saes.get` does."""
        self._saes.get(target)

    @contextmanager
    def encoded(self, claim: Held, stopping: Callable[[], bool]) -> Iterator[Made]:
        """Encode the shard of a claim with as many SAEs as are loaded at a time, and give what was made of it.

        Raises: ShardError where the shard is no good for any SAE; Stopped; MismatchError if these options do not go
        with an SAE or with the results that are there.
        """
        began, ticket = time.perf_counter(), claim.ticket
        if isinstance(claim.shard, ObjectPath):
            if ticket.attempts > 1:  # what was known of its neighbours may be what went wrong
                self._places = Places()
            claim.shard = self._places(claim.shard)
        try:
            status = status_now(claim.shard)
        except OSError as exc:
            raise ShardError(f"{claim.shard}: cannot be read: {exc.strerror}") from exc
        select = {str(key): str(value) for key, value in ticket.select.items()}
        settings = {"values": self._options.values, "select": select, "exclude": self._exclude_of(ticket).document()}
        made = Made.resumed(ticket)
        known = self._look_at_saes(made)
        self._skip_finished(claim, made, known, settings, stopping)
        with ExitStack() as files:
            if made.left:
                streams, tasks = self._prepare(claim, made, known, select, files)
                if tasks:
                    last = self._encode(ticket, streams, settings, status, stopping)
                    made.did.seconds = last.seconds
                for target, task in tasks:
                    self._take(claim, made, target, task)
            if isinstance(claim.shard, ObjectPath):
                claim.shard.tree.drop(claim.shard.address.key)
            made.sum_up(time.perf_counter() - began)
            yield made

    def _look_at_saes(self, made: Made) -> dict[str, Known]:
        """Return what is known of each SAE that is left: which results are its own, and which rows are for it.

        An SAE of which nothing is known yet is loaded for that.
        """
        for target in made.targets():
            if target.key in self._known:
                continue
            with made.failing(target):
                self._known[target.key] = self._saes.known(target)
        return {target.folder: self._known[target.key] for target in made.targets()}

    def _skip_finished(
        self,
        claim: Held,
        made: Made,
        known: dict[str, Known],
        settings: dict[str, Any],
        stopping: Callable[[], bool],
    ) -> None:
        sha256 = cache(lambda: sha256_of(claim.shard, stopping))
        for target in made.targets():
            weights = known[target.folder].weights_sha256
            with made.failing(target):
                if self._is_finished(claim, target, {"weights_sha256": weights, **settings}, sha256):
                    made.said[target.folder] = {"skipped": True}

    def _is_finished(self, claim: Held, target: Target, settings: dict[str, Any], sha256: Callable[[], str]) -> bool:
        """Look at what is there already.

        Raises: MismatchError if it was made with other options than this worker's, ShardError if with another SAE or
        selection than the ticket's.
        """
        out = claim.place_of(target)
        folder, weights = out.parent, settings["weights_sha256"]
        there = []
        if (folder, weights) not in self._checked and not isinstance(folder, ObjectPath):  # there, `_run.json` says it
            there = list(results_in(folder, ("values", "weights_sha256", "exclude")))
        for path, made_with in there:
            check_settings(path, made_with, {"values": settings["values"]})
        try:
            for path, made_with in there:
                check_settings(path, made_with, {name: settings[name] for name in ("weights_sha256", "exclude")})
            self._checked.add((folder, weights))
            return finished(out, claim.shard, settings, strict=self._options.strict, sha256=sha256)
        except MismatchError as exc:
            raise ShardError(str(exc)) from exc

    def _prepare(
        self, claim: Held, made: Made, known: dict[str, Known], select: dict[str, str], files: ExitStack
    ) -> tuple[list[Stream], list[tuple[Target, Task]]]:
        """Find the rows for each SAE that is left, load some of the SAEs, and open the files of their features."""
        ticket, sought = claim.ticket, {folder: Sought.of(one) for folder, one in known.items()}
        root = path_of(str(ticket.extra.get("root", claim.shard.parent)), claim.shard)
        matched = match(claim.shard, sought, made.left, select, root, several=ticket.is_of_several)
        made.take(matched)
        self._tell_what_is_missing(claim.shard, made)
        tasks: list[tuple[Target, Task]] = []
        of_rows: dict[int, list[Task]] = {}
        for target in self._saes.pick(made.targets()):
            with made.failing(target):
                sae, kernel = self._saes.get(target)
                out, n_rows = claim.place_of(target), matched.shards[target.folder].n_rows
                check_fits(claim.shard, n_rows, sae, self._options.values, out)
                out.parent.mkdir(parents=True, exist_ok=True)
                temporary = claim.temporary_for(out)
                most = MAX_PUT_BYTES if isinstance(out, ObjectPath) else None
                writer = CsrWriter(out, sae.d_sae, values=self._options.values, temporary=temporary, max_bytes=most)
                task = Task(sae, kernel, files.enter_context(writer), matched.notes[target.folder])
                of_rows.setdefault(id(matched.shards[target.folder]), []).append(task)
                tasks.append((target, task))
        streams = [Stream(shard, of_rows[id(shard)]) for shard in matched.distinct() if id(shard) in of_rows]
        return streams, tasks

    def _encode(
        self,
        ticket: Ticket,
        streams: list[Stream],
        settings: dict[str, Any],
        status: Status,
        stopping: Callable[[], bool],
    ) -> Progress:
        self._display.begin(ticket.job, sum(stream.shard.n_rows * len(stream.tasks) for stream in streams))
        last = Progress()

        def watch(progress: Progress) -> None:
            nonlocal last
            last = progress
            self._display.advance(ticket.job, progress)

        encode_shard(
            streams,
            batch_tokens=self._options.batch_tokens,
            settings=settings,
            status=status,
            stopping=stopping,
            watch=watch,
        )
        for kernel in {id(task.kernel): task.kernel for stream in streams for task in stream.tasks}.values():
            for note in kernel.notes:
                self._say_once(f"note: {note}")
        for stream in streams:
            for note in stream.shard.notes:
                self._note(stream.shard.path, note)
        return last

    def _take(self, claim: Held, made: Made, target: Target, task: Task) -> None:
        """Note how an SAE's encoding went. Its file is one to be published, unless something is wrong with it."""
        with made.failing(target):
            if task.error is not None:
                raise task.error
            assert task.encoded is not None  # encode_shard leaves one or the other
            encoded, who = task.encoded, f"{target.folder}: " if target.folder else ""
            for note in encoded.remarks:
                self._note(claim.shard, note)
            warning = encoded.quality.warning(task.sae.expected_l0)
            if warning is not None:
                if self._options.strict:
                    raise ShardError(f"{claim.shard}: {warning}")
                self._display.say(f"warning: {claim.shard.name}: {who}{warning}")
                made.did.warnings.append(f"{claim.shard}: {who}{warning}")
            made.add(target, encoded, claim.place_of(target), warning)

    def _tell_what_is_missing(self, shard: Path, made: Made) -> None:
        absent = [folder for folder, said in made.said.items() if "absent" in said]
        if absent:
            is_normed = any("final norm" in made.said[folder]["absent"] for folder in absent)
            norm = "; the last hidden state is after the final norm, and no block's output" if is_normed else ""
            self._note(shard, f"has no activations for {_listed(absent)}{norm}")
        if made.without_sae:
            self._note(shard, f"has activations that no SAE is for: {_listed(made.without_sae)}")

    def _note(self, shard: Path, note: str) -> None:
        """Say what is odd about a shard; where it is the same of many shards, it is said of the first."""
        if note not in self._noted:
            self._noted.add(note)
            self._display.say(f"note: {shard.name}: {note}")

    def _say_once(self, line: str) -> None:
        if line not in self._noted:
            self._noted.add(line)
            self._display.say(line)

    def _exclude_of(self, ticket: Ticket) -> Exclude:
        """Return which rows of the shard the user excludes: as the ticket says, or else as this worker's options do.

        Raises: MismatchError where both say, and say different things.
        """
        mine, said = self._options.exclude, ticket.extra.get("exclude")
        if said is None:
            return mine
        theirs = Exclude.of_document(said)
        if mine and mine != theirs:
            raise MismatchError(
                f"{ticket.job} was submitted with {theirs}, but this worker was started with {mine}; start it without"
            )
        return theirs


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:MAX_NAMED])
    return f"{shown} and {len(names) - MAX_NAMED:,} more" if len(names) > MAX_NAMED else shown
