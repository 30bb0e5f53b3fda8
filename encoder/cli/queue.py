"""`sae-encode submit`, `status` and `retry`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from encoder.errors import InputError
from encoder.queue.queue import Queue
from encoder.stores.address import check_is_written_to
from encoder.stores.object_path import ObjectPath
from encoder.stores.opened import open_store
from encoder.stores.probe import check_conditions
from saefetch.terminal.output import complain, printable, remark

if TYPE_CHECKING:
    from encoder.options import Options
    from encoder.work.named import SaesLike


def submit(
    inputs: list[Path],
    root: Path,
    out: Path | None,
    sae: SaesLike,
    select: str | None,
    axes: str | None,
    prefix: str | None,
    options: Options,
) -> NoReturn:
    """Put a job for each input on the queue and exit: 0, or 1 if an input cannot be encoded.

    With `strict`, a file or folder that is not read is an error too.
    """
    from encoder.readers import parse_select  # takes torch along
    from encoder.work.enqueue import enqueue
    from encoder.work.named import names_of
    from encoder.work.submit import inputs_of, is_result, strictly, why_not_read

    if isinstance(out, ObjectPath):
        check_is_written_to(out)
        check_conditions(open_store(out))
    unread: list[Path] = []
    chosen, names = parse_select(select, axes), names_of(sae)
    found = inputs_of(inputs, unread=unread.append, prefix=prefix, select=chosen)
    unread = [path for path in unread if not is_result(path, out or root / "out")]
    for path in unread if not options.strict else ():
        remark(f"note: {why_not_read(path)}")
    # Where nothing is said here, the ticket says nothing, and a worker may.
    extra = {"exclude": options.exclude.document()} if options.exclude else {}
    n_new, refused = enqueue(Queue(root, create=True), found, out or root / "out", names, chosen, again=False, **extra)
    errors = refused | (strictly(unread) if options.strict else {})
    for name, reason in errors.items():
        complain(f"{name}: {reason}", "sae-encode")
    n_there = len(found) - len(refused) - n_new
    says = f", {n_there:,} were there already" if n_there else ""
    says += f", {len(refused):,} cannot be encoded" if refused else ""
    says += f", {len(unread):,} files or folders are not read" if unread else ""
    print(f"{n_new:,} shards submitted to {root}{says}. Work on them: sae-encode work --queue {root}")
    sys.exit(1 if errors else 0)


def status(root: Path, *, as_json: bool) -> None:
    found = Queue(root).status()
    if as_json:
        print(json.dumps({"queue": str(root), **asdict(found)}, indent=2))
        return
    print(f"ready {len(found.ready):,}, claimed {len(found.claimed):,}, ", end="")
    print(f"done {len(found.done):,}, failed {len(found.failed):,}")
    for held in found.claimed:
        line = f"{held.job}: attempt {held.attempt} of worker {held.worker}, heard of {held.age_s:.0f} s ago"
        print(f"    {printable(line)}")
    for job, error in found.failed.items():
        print(f"    {printable(f'{job}: {error}')}")
    if found.failed:
        print(f"Try them again: sae-encode retry --queue {root}")


def retry(root: Path, jobs: list[str] | None) -> None:
    queue = Queue(root)
    unknown = sorted(set(jobs or ()) - set(queue.status().failed))
    if unknown:
        raise InputError(f"{unknown[0]}: no failed job of that name in {root}; `sae-encode status` shows them")
    moved = queue.retry(jobs or None)
    print(f"{len(moved):,} jobs are ready again. Work on them: sae-encode work --queue {root}")
