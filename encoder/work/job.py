"""One job: its SAE and kernel, whether its result is there already, its shard's encoding, and what that looks like.

    SAE of the ticket -> kernel -> finished before? -> open the shard -> encode -> quality, notes -> publish

What goes wrong is raised; what becomes of the job then is the worker's affair.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from encoder.errors import InputError, MismatchError, ShardError
from encoder.file.csr import CsrWriter
from encoder.kernels import Kernel, make_kernel
from encoder.machine.devices import pick_device
from encoder.options import Options
from encoder.queue.claim import Claim
from encoder.queue.ticket import Ticket
from encoder.readers import open_shards
from encoder.rows import Exclude, in_words
from encoder.sae.sae import LoadedSae
from encoder.work.encode import Encoded, encode_shard
from encoder.work.named import name_of
from encoder.work.progress import Progress
from encoder.work.resume import check_settings, finished, results_in
from encoder.work.totals import Display, Totals
from saefetch.files.digest import status_of


class JobEncoder:
    """Encodes job after job. The SAE of the last job stays loaded, with its kernel.

    `given` is an SAE that is loaded already. Raises: InputError if there is no such device.
    """

    def __init__(self, options: Options, display: Display, given: LoadedSae | None = None) -> None:
        self._options, self._display, self._given = options, display, given
        self._device = pick_device(options.device)
        self._loaded: dict[str, tuple[LoadedSae, Kernel]] = {}
        self._n_noted = 0
        self._noted: set[str] = set()
        self._checked: set[tuple[Path, str]] = set()

    def encode(self, claim: Claim, stopping: Callable[[], bool]) -> tuple[str, Totals]:
        """Encode and publish the shard of a claim, unless that is finished; return a line that says how, and the sums.

        Raises: ShardError; Stopped; FencedError; MismatchError if these options do not go with the SAE or with the
        results that are there.
        """
        began = time.perf_counter()
        ticket = claim.ticket
        sae, kernel = self._sae_of(ticket)
        try:
            status = status_of(claim.shard)
        except OSError as exc:
            raise ShardError(f"{claim.shard}: cannot be read: {exc.strerror}") from exc
        select = {str(key): str(value) for key, value in ticket.select.items()}
        settings = {"values": self._options.values, "select": select, "exclude": self._exclude_of(ticket).document()}
        if self._is_finished(claim, sae, settings, stopping):
            claim.done({"skipped": True}, is_published=True)
            return "finished before", Totals(skipped=1)
        root = Path(str(ticket.extra.get("root", claim.shard.parent)))
        (shard,) = open_shards(claim.shard, d_in=sae.d_in, select=select, root=root, hook_name=sae.hook_name)
        self._display.begin(ticket.job, shard.n_rows)
        claim.out.parent.mkdir(parents=True, exist_ok=True)
        last = Progress()

        def watch(progress: Progress) -> None:
            nonlocal last
            last = progress
            self._display.advance(ticket.job, progress)

        with CsrWriter(claim.out, sae.d_sae, values=self._options.values, temporary=claim.temporary) as writer:
            encoded = encode_shard(
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
            did = Totals(done=1, rows=shard.n_rows, nnz=writer.nnz, seconds=last.seconds)
            did.rows_counted, did.nnz_counted = encoded.n_counted, encoded.nnz_counted
            for note in (*shard.notes, *encoded.remarks):
                self._note(claim.shard, note)
            warning = encoded.quality.warning(sae.expected_l0)
            if warning is not None:
                self._warn(claim.shard, warning)
                did.warnings.append(f"{claim.shard}: {warning}")
            seconds = time.perf_counter() - began
            claim.done({"rows": shard.n_rows, "nnz": writer.nnz, "seconds": round(seconds, 3), "warning": warning})
        return _in_words(encoded, seconds), did

    def _note(self, shard: Path, note: str) -> None:
        """Say what is odd about a shard; where it is the same of many shards, it is said of the first."""
        if note not in self._noted:
            self._noted.add(note)
            self._display.say(f"note: {shard.name}: {note}")

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

    def _warn(self, shard: Path, warning: str) -> None:
        """Say that a result looks wrong. Raises: ShardError instead, with `strict`."""
        if self._options.strict:
            raise ShardError(f"{shard}: {warning}")
        self._display.say(f"warning: {shard.name}: {warning}")

    def _say_new_notes(self, kernel: Kernel) -> None:
        for note in kernel.notes[self._n_noted :]:
            self._display.say(f"note: {note}")
        self._n_noted = len(kernel.notes)

    def _is_finished(
        self, claim: Claim, sae: LoadedSae, settings: dict[str, Any], stopping: Callable[[], bool]
    ) -> bool:
        """Look at what is there already.

        Raises: MismatchError if it was made with other options than this worker's, ShardError if with another SAE or
        selection than the ticket's.
        """
        folder, weights = claim.out.parent, {"weights_sha256": sae.identity["weights_sha256"]}
        is_new = (folder, str(weights)) not in self._checked
        there = list(results_in(folder, ("values", "weights_sha256", "exclude"))) if is_new else []
        for path, made_with in there:
            check_settings(path, made_with, {"values": settings["values"]})
        try:
            for path, made_with in there:
                check_settings(path, made_with, {**weights, "exclude": settings["exclude"]})
            self._checked.add((folder, str(weights)))
            everything, strict = {**weights, **settings}, self._options.strict
            return finished(claim.out, claim.shard, everything, strict=strict, stopping=stopping)
        except MismatchError as exc:
            raise ShardError(str(exc)) from exc

    def _sae_of(self, ticket: Ticket) -> tuple[LoadedSae, Kernel]:
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
        name, is_folded = dict(ticket.sae), bool(ticket.sae.get("fold_decoder_norm"))
        if given is not None and name_of(given).items() <= name.items() and given.is_folded == is_folded:
            return given
        from encoder.sae.load import load_named  # takes SAELens along, in seconds

        sae = load_named(ticket.sae)
        weights = ticket.extra.get("weights_sha256", sae.identity["weights_sha256"])
        if weights != sae.identity["weights_sha256"]:
            raise ShardError(
                f"the SAE {sae!r} has other weights now than when the job was submitted; submit the shard again"
            )
        return sae


def _in_words(encoded: Encoded, seconds: float) -> str:
    rate = f"{encoded.n_rows / max(seconds, 1e-9):,.0f} tokens/s"
    parts = [f"{encoded.n_rows:,} tokens", in_words(encoded.excluded), f"L0 {encoded.mean_l0:.1f}"]
    return ", ".join(filter(None, [*parts, encoded.quality.in_words(), rate]))
