"""`_run.json` beside the results: with which SAE and settings they are made. One folder has one of each.

It is created if absent, so of runs that start at once one decides for all. What is compared is what decides the bytes
of results. A run that created it and leaves no result removes it: it may be repeated with what was wrong put right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from encoder.errors import InputError, MismatchError
from encoder.file.beside import RUN
from encoder.rows import Exclude
from encoder.stores.opened import open_store

_SAE = ("sae_release", "sae_id", "sae_path")
_FLAGS = {"values": "--values", "select": "--select", "fold_decoder_norm": "--fold-decoder-norm"}
_MAX_TRIES = 8


def settings_of(sae: Mapping[str, Any], weights_sha256: str | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `_run.json` holds. `settings` are the members of `meta` that decide bytes."""
    own = {name: sae.get(name) for name in _SAE} | {"weights_sha256": weights_sha256}
    return {"sae": own, "fold_decoder_norm": bool(sae.get("fold_decoder_norm")), **settings}


class Record:
    """The `_run.json` of one folder of results, for one run."""

    def __init__(self, folder: Path, wanted: dict[str, Any]) -> None:
        self._folder, self._store, self._wanted = folder, open_store(folder), wanted
        self._is_mine = False

    def claim(self) -> None:
        """Make sure that the folder is for results of this run.

        Raises: MismatchError with what differs; InputError where nothing can be written.
        """
        for _ in range(_MAX_TRIES):
            try:
                created = self._store.create(RUN, json.dumps(self._wanted, indent=1).encode() + b"\n")
            except InputError as exc:
                raise InputError(f"--out {self._folder}: results cannot be written there: {exc}") from exc
            self._is_mine = self._is_mine or created
            if created or self._is_as_wanted():
                return
        raise InputError(f"{self._folder / RUN}: is written and removed again by others; run it again")

    def release(self) -> bool:
        """Remove what this run created, if there is no result; make sure that nobody else took the folder meanwhile.

        Returns whether there is one. Raises: MismatchError.
        """
        if any(entry.key.endswith(".npz") for entry in self._store.list()):
            self.claim()
            return True
        if self._is_mine and self._is_as_wanted():
            self._store.delete(RUN)
            with suppress(OSError):  # the folder of an SAE for which no shard has anything
                self._folder.rmdir()
        return False

    def _is_as_wanted(self) -> bool:
        """Return False where there is no record. Raises: MismatchError."""
        try:
            there = json.loads(self._store.read(RUN))
        except FileNotFoundError:
            return False
        except (ValueError, RecursionError):
            there = None
        if not isinstance(there, dict):
            raise InputError(f"{self._folder / RUN}: is damaged; remove it, and run it again with the same settings")
        if differing := _differing(there, self._wanted):
            raise MismatchError(
                f"{self._folder / RUN} is of a run with {'; '.join(differing)}; choose another --out, or remove it if"
                " no result is there and no run is at work"
            )
        return True


def _differing(there: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what differs, in words. An SAE is another one if its weights are, whatever it is called."""
    found = []
    before, sae = there.get("sae"), now["sae"]
    if not isinstance(before, dict) or before.get("weights_sha256") != sae["weights_sha256"]:
        found.append(f"the SAE {_name(before)}, now it is {_name(sae)}")
    if there.get("exclude") != now["exclude"]:
        found.append(f"{_excluded(there.get('exclude'))}, now it is {_excluded(now['exclude'])}")
    for name, flag in _FLAGS.items():
        if there.get(name) != now[name]:
            found.append(f"{flag} {_shown(there.get(name))}, now it is {_shown(now[name])}")
    return found


def _name(sae: object) -> str:
    known = sae if isinstance(sae, dict) else {}
    names = known.get("sae_path") or " ".join(filter(None, (known.get("sae_release"), known.get("sae_id"))))
    return f"{names or 'without a name'} (weights {str(known.get('weights_sha256'))[:12]})"


def _excluded(exclude: object) -> str:
    try:
        return str(Exclude.of_document(exclude))
    except InputError as exc:
        return str(exc)


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ",".join(f"{key}={one}" for key, one in value.items()) or "none"
    return str(value)
