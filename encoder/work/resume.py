"""Is a shard finished, and does a run go on from the runs before it: what jobs and results that are there allow."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any

from encoder.errors import EncoderError, InputError, MismatchError
from encoder.file.feature_file import open_file
from encoder.queue.queue import Queue
from encoder.queue.ticket import Ticket
from saefetch.files.digest import sha256_of


def check_resumes(queue: Queue, tickets: Sequence[Ticket], *, again: bool) -> None:
    """Refuse what would mix two runs: a job that is there, but of another shard, SAE or output; two SAEs in one folder.

    With `again`, a failed job may differ: it has no result, and is submitted anew. Raises: MismatchError with what
    differs.
    """
    coming = {ticket.job: ticket for ticket in tickets}
    folders = {PurePath(ticket.out).parent: ticket.sae for ticket in tickets}
    for job, state in queue.states().items() if tickets else ():
        there = None
        with suppress(InputError):  # a malformed ticket is nobody's; it is replaced or shown by `status`
            there = queue.ticket(state, job)
        if there is None or (again and state == "failed"):
            continue
        new = coming.get(job)
        for name in ("shard", "out", "sae", "select") if new else ():
            if getattr(there, name) != getattr(new, name):
                raise MismatchError(
                    f"{queue.root} has a job {job} already, with {name} {getattr(there, name)}; now it is"
                    f" {getattr(new, name)}; choose another queue or output folder"
                )
        folder = PurePath(there.out).parent
        if folders.get(folder, there.sae) != there.sae:
            raise MismatchError(
                f"{queue.root} has a job {job}, the results of which go to {folder} too, with sae {there.sae}; now it"
                f" is {folders[folder]}; choose another queue or output folder"
            )


def check_folder(out: Path, settings: dict[str, Any]) -> None:
    """Refuse a folder that holds results of other settings. Raises: MismatchError with what differs."""
    for path, made_with in results_in(out, settings):
        check_settings(path, made_with, settings)


def results_in(out: Path, names: Collection[str]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield each result of a folder, in order of name, and those members of its `meta` that are named."""
    for path in sorted(out.glob("*.npz")):
        try:
            meta = open_file(path).meta
        except (EncoderError, OSError):
            continue  # damaged, or none of ours
        yield path, {name: meta[name] for name in names if name in meta}


def check_settings(path: Path, meta: dict[str, Any], settings: dict[str, Any]) -> None:
    """Raises: MismatchError if the result at `path` was made with other settings."""
    for key, wanted in settings.items():
        if key in meta and meta[key] != wanted:
            raise MismatchError(
                f"{path} was made with {key} {meta[key]!r}, now it is {wanted!r}; choose another --out, or remove it"
            )


def finished(
    out: Path, shard: Path, settings: dict[str, Any], *, strict: bool = False, stopping: Callable[[], bool] = bool
) -> bool:
    """Say whether the result of `shard` is at `out` already, made with the same settings.

    The shard is the same if size and mtime are, or size and hash. `settings` are members of `meta` to be compared. With
    `strict`, a result that was written with a warning does not count.

    Raises: MismatchError if the result there was made with other settings, with what differs; Stopped.
    """
    if not out.is_file():
        return False
    try:
        meta = open_file(out).meta
    except EncoderError:
        return False  # damaged: it is encoded again
    check_settings(out, meta, settings)
    status = shard.stat()
    if meta.get("shard_path") != str(shard) or meta.get("shard_size") != status.st_size:
        return False
    if strict and meta.get("warning"):
        return False
    return meta.get("shard_mtime_ns") == status.st_mtime_ns or meta.get("shard_sha256") == sha256_of(shard, stopping)
