"""What is known of an SAE without its weights: its identity, kept from the last time that it was loaded here.

    load_named  ->  Memory.keep(Known)  ->  the user's cache folder  ->  recall  ->  Known

Whether shards are finished, and which SAEs go with which activations, is decided by this alone: no torch is imported
and no weights are read. What is kept counts only while it cannot be stale:

    a folder or file                   its footprint is the same, see `encoder.sae.footprint`
    a name in SAELens' registry, or    the revision that the cache of Hugging Face on this machine has is the same, and
    a repository of Hugging Face       so are its files; another revision is heard of when the SAE is loaded next

and while the code that read it is the same.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import time_ns
from typing import Any

from encoder.machine.cache import Cache
from encoder.sae.footprint import Footprint, footprint_of, is_settled
from encoder.stores.object_path import path_of

MOST = 512
"""SAEs that are kept. An entry takes about a kilobyte."""
_KIND = "saes"
_OF_HUB = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "HF_ENDPOINT")
"""What says where Hugging Face's files are, and where from."""


@dataclass(frozen=True, slots=True)
class Known:
    """What an SAE is, beside its weights. Fields are those of `LoadedSae`."""

    identity: dict[str, str | None]
    architecture: str
    hook_name: str
    model_name: str
    d_in: int
    d_sae: int
    decoder_norm: tuple[float, float]
    expected_l0: float | None

    @property
    def weights_sha256(self) -> str:
        return str(self.identity["weights_sha256"])


@dataclass(frozen=True, slots=True)
class Recalled:
    """What is known of a named SAE, or why what was known does not count any more; both None for a new SAE."""

    known: Known | None = None
    changed: str | None = None


@dataclass(frozen=True, slots=True)
class Hub:
    """The files of an SAE in a repository of Hugging Face, as its cache on this machine has them."""

    repository: Path
    folder: str

    def footprint(self) -> Footprint | None:
        """Return the files of the revision that is `main` here, by names that have the revision in them."""
        try:
            commit = (self.repository / "refs" / "main").read_text("utf-8").strip()
        except OSError:
            return None
        snapshot = self.repository / "snapshots" / commit
        found = {}
        for path in snapshot.rglob("*"):
            name = path.relative_to(snapshot).as_posix()
            if path.is_file() and (name.startswith(self.folder) or "/" not in name):
                status = path.stat()
                found[f"{commit}/{name}"] = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        return found or None


def folded_sha256(weights_sha256: object) -> str:
    """Return the identity of an SAE with values in Neuronpedia's scale: features of the two are never mixed."""
    return hashlib.sha256(f"{weights_sha256} fold_decoder_norm".encode()).hexdigest()


def recall(sae: Mapping[str, Any]) -> Recalled:
    """Return what is known of the SAE of a ticket, and cannot be stale."""
    key = _key(sae)
    entry = Cache(_KIND, MOST).get(key)
    if entry is None:
        return Recalled()
    try:
        hub = entry.get("hub")
        footprint = footprint_of(path_of(key["sae_path"])) if hub is None else Hub(Path(hub[0]), hub[1]).footprint()
        if footprint is not None and footprint == entry["footprint"]:
            known = Known(**{**entry["known"], "decoder_norm": tuple(entry["known"]["decoder_norm"])})
            if not sae.get("fold_decoder_norm"):
                return Recalled(known)
            identity = {**known.identity, "weights_sha256": folded_sha256(known.weights_sha256)}
            return Recalled(replace(known, identity=identity))
    except (OSError, LookupError, TypeError, ValueError):
        pass
    name = key["sae_path"] or f"{key['sae_release']} {key['sae_id']}"
    return Recalled(changed=f"{name} has changed since it was read last; its weights are read again")


class Memory:
    """Keeps what an SAE turns out to be. To be made before the SAE is read, so that a change meanwhile is seen."""

    def __init__(self, sae: Mapping[str, Any]) -> None:
        self._key, self._began_ns = _key(sae), time_ns()
        self._before = self._footprint()
        self._sae = {name: value for name, value in sae.items() if name != "fold_decoder_norm"}

    def confirmed(self) -> Known | None:
        """Return what is known of the SAE that was read meanwhile; None where that has to be found out."""
        if self._before is None or self._before != self._footprint():
            return None
        return recall(self._sae).known

    def keep(self, known: Known, hub: Hub | None = None) -> None:
        """Keep what is known, unless it could be stale one day without being seen to be."""
        document: dict[str, Any] = {"known": asdict(known), "hub": None}
        if hub is None:
            footprint = self._footprint()
            if footprint is None or footprint != self._before or not is_settled(footprint, self._began_ns):
                return
            document["footprint"] = footprint
        else:
            document |= {"hub": [str(hub.repository), hub.folder], "footprint": hub.footprint()}
        Cache(_KIND, MOST).put(self._key, document)

    def _footprint(self) -> Footprint | None:
        path = self._key["sae_path"]
        with suppress(OSError):
            return None if path is None else footprint_of(path_of(path))
        return None


def _key(sae: Mapping[str, Any]) -> dict[str, Any]:
    path = sae.get("sae_path")
    key: dict[str, Any] = {name: sae.get(name) for name in ("sae_release", "sae_id")}
    key |= {"sae_path": None if path is None else str(path_of(path).absolute()), "code": _code()}
    return key if path is not None else key | {name: os.environ.get(name) for name in _OF_HUB}


@cache
def _code() -> str:
    """Return what stands for the code that reads SAEs: ours by its files, SAELens by its version."""
    try:
        theirs = version("sae-lens")
    except PackageNotFoundError:
        theirs = ""
    files = sorted(Path(__file__).parent.rglob("*.py"))
    ours = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr((theirs, ours)).encode()).hexdigest()[:16]
