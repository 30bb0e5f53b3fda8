"""Is a shard finished, and does a run go on from the runs before it: what jobs and results that are there allow."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from encoder.errors import EncoderError, InputError, MismatchError, OccupiedError
from encoder.file.feature_file import meta_of
from encoder.file.owner import why_kept
from encoder.queue.queue import Queue
from encoder.queue.ticket import Ticket
from encoder.rows import Exclude
from encoder.stores.object_path import ObjectPath, is_there
from encoder.stores.same import is_of, sha256_of

MAX_LOOKS = 16
"""Results at addresses that are looked at at a time."""
NOTHING_EXCLUDED = Exclude().document()
"""What results of earlier versions were made with."""


def check_resumes(queue: Queue, tickets: Sequence[Ticket], *, again: bool) -> dict[str, str]:
    """Return the jobs whose name the queue has for another shard, with what to do.

    A failed job may differ: it has no result, and is submitted anew. With `again` the results that are there decide
    about jobs in done/, which are submitted anew too.
    Raises: MismatchError with what differs, if two runs would be mixed: another SAE, selection or output.
    """
    taken: dict[str, str] = {}
    coming = {ticket.job: ticket for ticket in tickets}
    folders = {one.out.rpartition("/")[0]: one.sae for ticket in tickets for one in ticket.targets}
    for job, state in queue.states().items() if tickets else ():
        there = None
        with suppress(InputError):  # a malformed ticket is nobody's; it is replaced or shown by `status`
            there = queue.ticket(state, job)
        if there is None or state == "failed":
            continue
        new = coming.get(job)
        if new is not None and there.shard != new.shard:
            if not again or state != "done":
                taken[job] = (
                    f"{queue.root} has a job {job} already, of {there.shard}, and {new.shard} would take its name. To"
                    " keep both, give this one --prefix NAME, or name a folder above both as the INPUT"
                )
            continue
        for name, before, now in _differences(there, new, again=again) if new else ():
            raise MismatchError(
                f"{queue.root} has a job {job} already, with {name}{before}; now it is {now}; choose another queue or"
                " output folder"
            )
        for target in there.targets:
            folder = target.out.rpartition("/")[0]
            if folders.get(folder, target.sae) != target.sae:
                raise MismatchError(
                    f"{queue.root} has a job {job}, the results of which go to {folder} too, with sae {target.sae}; now"
                    f" it is {folders[folder]}; choose another queue or output folder"
                )
    return taken


def _differences(there: Ticket, new: Ticket, *, again: bool) -> Iterator[tuple[str, object, object]]:
    """Yield what differs between two tickets of one job: its name with a space, or nothing for flags, and both.

    Other SAEs are no difference where both are of several, if what they miss is looked for `again`: each has a folder.
    """
    for name in ("out", "sae", "select"):
        if name == "sae" and again and there.is_of_several and new.is_of_several:
            continue
        if getattr(there, name) != getattr(new, name):
            yield f"{name} ", getattr(there, name), getattr(new, name)
    before, now = excluded_by(there), excluded_by(new)
    if before != now:
        yield "", _flags(before), _flags(now)


def excluded_by(ticket: Ticket) -> object:
    """Return what a ticket excludes; one that says nothing excludes nothing by itself."""
    return ticket.extra.get("exclude") or NOTHING_EXCLUDED


def check_folder(out: Path, settings: dict[str, Any]) -> None:
    """Refuse a folder that holds results of other settings. Raises: MismatchError with what differs.

    At an address there may be ten thousand results, and `_run.json` says how they were made.
    """
    if isinstance(out, ObjectPath):
        return
    for path, made_with in results_in(out, settings):
        check_settings(path, made_with, settings)


def results_in(out: Path, names: Collection[str]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield each result of a folder, in order of name, and those members of its `meta` that are named."""
    for path in sorted(out.glob("*.npz")):
        try:
            meta = meta_of(path)
        except (EncoderError, OSError):
            continue  # damaged, or none of ours
        yield path, {name: meta[name] for name in names if name in meta}


def check_settings(path: Path, meta: dict[str, Any], settings: dict[str, Any]) -> None:
    """Raises: MismatchError if the result at `path` was made with other settings."""
    if "exclude" in settings:
        made, now = meta.get("exclude", NOTHING_EXCLUDED), settings["exclude"]
        if made != now:
            raise MismatchError(
                f"{path} was made with {_flags(made)}, now it is {_flags(now)}; choose another --out, or remove it"
            )
    for key, wanted in settings.items():
        if key != "exclude" and key in meta and meta[key] != wanted:
            raise MismatchError(
                f"{path} was made with {key} {meta[key]!r}, now it is {wanted!r}; choose another --out, or remove it"
            )


def _flags(exclude: object) -> str:
    try:
        return str(Exclude.of_document(exclude))
    except InputError as exc:  # a result that is not of this version, or damaged
        return str(exc)


def finished(
    out: Path,
    shard: Path,
    settings: dict[str, Any],
    *,
    strict: bool = False,
    sha256: Callable[[], str] | None = None,
) -> bool:
    """Say whether the result of `shard` is at `out` already, made with the same settings.

    The shard is the same if size and mtime are, or size and hash. `settings` are members of `meta` to be compared. With
    `strict`, a result that was written with a warning does not count. `sha256` hashes the shard, where it is needed.

    Raises: OccupiedError if the file there is of another shard; MismatchError if the result there was made with other
    settings, with what differs.
    """
    if not is_there(out):
        return False
    sha256 = sha256 or cache(lambda: sha256_of(shard))
    if reason := why_kept(out, shard, sha256):
        raise OccupiedError(reason)
    try:
        meta = meta_of(out)
    except (EncoderError, OSError):
        return False  # damaged: it is encoded again
    check_settings(out, meta, settings)
    return is_of(meta, shard, sha256) and not (strict and meta.get("warning"))


def to_do_and_taken(
    tickets: Sequence[Ticket],
    settings: dict[str, Any],
    *,
    strict: bool = False,
    absent: Collection[tuple[str, str]] = (),
    place: Callable[[str], Path] = Path,
) -> tuple[list[Ticket], dict[str, str]]:
    """Return the jobs of which a result is missing, and with the reason those whose results' names are taken.

    A job is taken where its name is taken for all its SAEs that are not finished. `absent` are a job and the folder of
    an SAE for which its shard has nothing; `place` makes paths of what tickets say. Raises: MismatchError, as
    `finished` does.
    """

    def look(ticket: Ticket) -> tuple[bool, list[str]]:
        is_missing, reasons = False, []
        for target in ticket.targets:
            if (ticket.job, target.folder) in absent:
                continue
            weights = {} if target.weights_sha256 is None else {"weights_sha256": target.weights_sha256}
            try:
                is_done = finished(place(target.out), place(ticket.shard), settings | weights, strict=strict)
                is_missing = is_missing or not is_done
            except OccupiedError as exc:
                reasons.append(str(exc))
            except OSError:  # the shard is gone: its job will say so
                is_missing = True
        return is_missing, reasons

    to_do, taken = [], {}
    for ticket, (is_missing, reasons) in zip(tickets, _side_by_side(look, tickets, place), strict=True):
        if is_missing:
            to_do.append(ticket)
        elif reasons:
            taken[ticket.job] = "; ".join(reasons)
    return to_do, taken


def _side_by_side(
    look: Callable[[Ticket], tuple[bool, list[str]]], tickets: Sequence[Ticket], place: Callable[[str], Path]
) -> list[tuple[bool, list[str]]]:
    """Look at the result of each ticket: at addresses at many at a time, as each look is a request or two."""
    if not tickets or not isinstance(place(tickets[0].out), ObjectPath):
        return [look(ticket) for ticket in tickets]
    for folder in {place(one).parent for ticket in tickets for one in (ticket.out, ticket.shard)}:
        if isinstance(folder, ObjectPath):
            folder.tree.folder(folder.address.key)  # lists it, once for all
    with ThreadPoolExecutor(MAX_LOOKS, "look") as pool:
        return list(pool.map(look, tickets))
