"""Which of several SAEs no shard is for, as their names in SAELens' registry say: known before they are downloaded.

A pattern such as `layer_*/width_16k/canonical` means all layers of a model, and a capture has some of them. What the
names leave open, and SAEs of which only their own files say the hook, are left to the jobs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from encoder.errors import NotHereError, ShardError
from encoder.hooks import compare
from encoder.queue.ticket import Target, targets_of
from encoder.readers import DataFile, packed_stream
from encoder.work.submit import Input
from saefetch.names.registry.everything import everything


class Survey:
    """The SAEs of a run as a ticket's `sae`: all that were named, and the `names` of those that some shard may be for.

    `missing` says of each other one, by the folder of its results, why no shard is for it.
    """

    def __init__(self, names: dict[str, Any], inputs: Sequence[Input], select: Mapping[str, str]) -> None:
        self.of_several = "saes" in names
        self._all, self._n_shards = names, len(inputs)
        self.missing = _absent_from_all(targets_of(names, ""), inputs, select) if self.of_several else {}
        self.names = names
        if self.missing:
            self.names = {"saes": [one for one in names["saes"] if one["folder"] not in self.missing]}

    def told(self, found: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return what `--json` says of each SAE; `found` is what it says of those that were encoded."""
        of_folder = {one["folder"]: one for one in found}
        for one in self._all["saes"]:
            if why := self.missing.get(one["folder"]):
                of_folder[one["folder"]] = {**one, "results": 0, "absent": self._n_shards, "why_absent": why}
        return [of_folder[one["folder"]] for one in self._all["saes"] if one["folder"] in of_folder]


def _absent_from_all(targets: Iterable[Target], inputs: Iterable[Input], select: Mapping[str, str]) -> dict[str, str]:
    """Return the SAEs, by folder, of which no shard has the place in the model, and why."""
    hooks = _hooks_of(targets)
    absent: dict[str, str] = {}
    for item in inputs:
        if not hooks:
            break
        if item.path.suffix.lower() in packed_stream.SUFFIXES:
            return {}  # would have to be unpacked for it
        try:
            file = DataFile(item.path, select, item.root)
        except ShardError:
            continue  # its job will say so
        for folder, (hook, model) in list(hooks.items()):
            why = _why_not(file, hook, model)
            if why is None:
                del hooks[folder]
            else:
                absent.setdefault(folder, why)
    return {folder: why for folder, why in absent.items() if folder in hooks}


def _hooks_of(targets: Iterable[Target]) -> dict[str, tuple[str, str]]:
    """Return the hook and the model of each SAE of which the registry's names say them."""
    wanted = {(one.sae.get("sae_release"), one.sae.get("sae_id")): one.folder for one in targets}
    return {
        wanted[sae.release, sae.sae_id]: (sae.hook_name, sae.model)
        for sae in everything()
        if sae.hook_name is not None and (sae.release, sae.sae_id) in wanted
    }


def _why_not(file: DataFile, hook: str, model: str) -> str | None:
    """Say why the file has nothing for a hook; None where it has, or may have."""
    try:
        shard = file.shard_for(None, hook, model)
    except NotHereError as exc:
        return str(exc)
    except ShardError:
        return None
    if compare(shard.hook_name, hook, model) != "other":
        return None
    return f"{file.path}: has {shard.hook_name}, and not {hook}"
