"""The SAEs that a run is for: their identities at once where these are known, their weights when they are needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from encoder.options import Options
from encoder.queue.ticket import targets_of
from encoder.sae.known import recall
from encoder.work.warm import warming

if TYPE_CHECKING:
    from encoder.sae.sae import LoadedSae


class Wanted:
    """SAEs by the folders of their results; the only one by "".

    `names` is a ticket's `sae`, `ready` are loaded already. `say` hears why what was known of an SAE does not count any
    more. Where an SAE has to be loaded to be known, it stays loaded if it is one of the first that are loaded at a
    time.
    """

    def __init__(
        self, names: Mapping[str, Any], ready: Mapping[str, LoadedSae], options: Options, say: Callable[[str], object]
    ) -> None:
        self._names = {target.folder: target.sae for target in targets_of(names, "")}
        self._loaded, self._options, self._say = dict(ready), options, say
        self._weights = {folder: str(sae.identity["weights_sha256"]) for folder, sae in ready.items()}
        self._n_kept = 1

    @property
    def weights(self) -> dict[str, str]:
        """Return what the features come from, by SAE; an SAE is loaded where that is not known. Raises: InputError."""
        for folder in self._names:
            if folder not in self._weights:
                self._weights[folder] = self._recalled(folder)
        return dict(self._weights)

    def load_the_only_one(self) -> None:
        """Load the SAE where it is one; of several each is loaded when its turn comes. Raises: InputError."""
        if "" in self._names and "" not in self._loaded:
            import encoder.sae.load  # noqa: F401 - takes torch along, before two threads do

            with warming():
                self._load("")

    def in_hand(self) -> list[LoadedSae]:
        """Return the SAEs that are loaded by now."""
        return list(self._loaded.values())

    def _recalled(self, folder: str) -> str:
        recalled = recall(self._names[folder])
        if recalled.known is not None:
            return recalled.known.weights_sha256
        if recalled.changed is not None:
            self._say(f"note: {recalled.changed}")
        return str(self._load(folder).identity["weights_sha256"])

    def _load(self, folder: str) -> LoadedSae:
        if folder in self._loaded:
            return self._loaded[folder]
        from encoder.machine.devices import pick_device
        from encoder.sae.load import load_named  # these take torch along, in a second
        from encoder.work.saes import fitting

        sae = load_named(self._names[folder])
        self._weights[folder] = str(sae.identity["weights_sha256"])
        if not self._loaded:
            self._n_kept, _ = fitting(sae, pick_device(self._options.device), self._options)
        if len(self._loaded) < self._n_kept:
            self._loaded[folder] = sae
        return sae
