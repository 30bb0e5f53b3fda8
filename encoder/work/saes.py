"""The SAEs of a worker: loaded when a job needs them, with their kernels, and let go when memory is needed for others.

At most `at_once` SAEs are loaded at a time. Where the user does not say how many, so many are as fit into half of the
memory that is free, by what the first takes at its peak: its weights, and as much again while they are read and for
the kernel's copies. Half, because the page cache and the rows need the rest; the workers of one run share it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch

from encoder.errors import InputError, MismatchError, ShardError
from encoder.kernels import Kernel, make_kernel
from encoder.machine.free_memory import free_bytes
from encoder.options import Options
from encoder.queue.ticket import Target
from encoder.sae.known import Known, recall
from encoder.sae.load import load_named
from encoder.sae.memory import gigabytes, of_widths
from encoder.sae.sae import LoadedSae
from encoder.work.named import NAMES, name_of
from encoder.work.totals import Display

SHARE = 0.5
MOST = 64
"""SAEs at once that are chosen without being asked for: each has three temporary files open."""


def fitting(
    sae: LoadedSae,
    device: torch.device,
    options: Options,
    free_bytes: Callable[[torch.device], int] = free_bytes,
) -> tuple[int, str]:
    """Return how many SAEs of this size are loaded at a time, and why."""
    if options.saes_at_once is not None:
        return options.saes_at_once, ""
    free = min(free_bytes(torch.device("cpu")), free_bytes(device))
    each = of_widths(sae.d_in, sae.d_sae).peak
    n = max(1, min(MOST, int(free * SHARE / (options.workers or 1)) // each))
    return n, f"{gigabytes(each)} each, and {gigabytes(free)} are free, of which half is taken"


class Saes:
    """Loaded SAEs by their names. `given` are loaded already; those that have names are let go like the others."""

    def __init__(
        self, options: Options, device: torch.device, display: Display, given: Sequence[LoadedSae] = ()
    ) -> None:
        self._options, self._device, self._display = options, device, display
        self._given = list(given)
        self._loaded: OrderedDict[str, tuple[LoadedSae, Kernel]] = OrderedDict()
        self._at_once, self._why = options.saes_at_once, ""
        self._noted: set[str] = set()

    def pick(self, targets: Sequence[Target]) -> list[Target]:
        """Return those of the targets to be encoded in one reading: such as are loaded first, then others in order."""
        if self._at_once is None and targets:
            self.get(targets[0])
        if self._why and self._at_once is not None and self._at_once < len(targets):
            self._display.say(f"note: {self._at_once:,} of {len(targets):,} SAEs are loaded at a time: {self._why}")
            self._why = ""
        loaded = [target for target in targets if target.key in self._loaded]
        others = [target for target in targets if target.key not in self._loaded]
        return [*loaded, *others][: self._at_once or 1]

    def get(self, target: Target) -> tuple[LoadedSae, Kernel]:
        """Return an SAE with its kernel. Raises: InputError if there is none; ShardError if it is not what it was;
        MismatchError if these options do not go with it.
        """
        key = target.key
        if key not in self._loaded:
            while len(self._loaded) >= (self._at_once or 1):
                self._loaded.popitem(last=False)
            sae = self._load(target)
            try:
                kernel = make_kernel(sae, self._device, self._options.backend)
            except InputError as exc:  # not the shard's fault, and the same for the next one
                raise MismatchError(str(exc)) from exc
            for note in sae.notes:
                if note not in self._noted:
                    self._noted.add(note)
                    self._display.say(f"note: {note}")
            self._display.say(
                f"{f'{target.folder}: ' if target.folder else ''}{sae.architecture} SAE, {sae.d_in:,} ->"
                f" {sae.d_sae:,}, kernel {kernel.name} on {kernel.device}: {kernel.reason}"
            )
            self._loaded[key] = sae, kernel
            if self._at_once is None:
                self._at_once, self._why = fitting(sae, self._device, self._options)
        self._loaded.move_to_end(key)
        return self._loaded[key]

    def known(self, target: Target) -> Known:
        """Return what an SAE is beside its weights; it is loaded where nobody has loaded it before.

        Raises: as `get` does.
        """
        if target.key not in self._loaded and self._find_given(target) is None:
            recalled = recall(target.sae).known
            if recalled is not None and target.weights_sha256 in (None, recalled.weights_sha256):
                return recalled
        return self.get(target)[0].known

    def _load(self, target: Target) -> LoadedSae:
        given = self._find_given(target)
        if given is not None:
            if any(target.sae.get(name) for name in NAMES):
                self._given.remove(given)
            return given
        sae = load_named(target.sae)
        if target.weights_sha256 not in (None, sae.identity["weights_sha256"]):
            raise ShardError(
                f"the SAE {sae!r} has other weights now than when the job was submitted; submit the shard again"
            )
        return sae

    def _find_given(self, target: Target) -> LoadedSae | None:
        name, is_folded = dict(target.sae), bool(target.sae.get("fold_decoder_norm"))
        for sae in self._given:
            is_same = name_of(sae).items() <= name.items() and sae.is_folded == is_folded
            if is_same and target.weights_sha256 in (None, sae.identity["weights_sha256"]):
                return sae
        return None
