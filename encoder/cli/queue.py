"""`sae-encode submit`, `status` and `retry`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from encoder.errors import InputError
from encoder.queue.queue import Queue


def submit(
    inputs: list[Path], root: Path, out: Path | None, sae: dict[str, Any], select: str | None, axes: str | None
) -> None:
    from encoder.readers import parse_select  # takes torch along
    from encoder.work.resume import check_resumes
    from encoder.work.submit import inputs_of, tickets_of

    tickets = tickets_of(inputs_of(inputs, unread=not_read), out or root / "out", sae, parse_select(select, axes))
    queue = Queue(root, create=True)
    check_resumes(queue, tickets, again=False)
    n_new = queue.submit(tickets)
    already = f", {len(tickets) - n_new:,} were there already" if n_new < len(tickets) else ""
    print(f"{n_new:,} shards submitted to {root}{already}. Work on them: sae-encode work --queue {root}")


def not_read(path: Path) -> None:
    """Say that a file below an INPUT is passed over, so that nothing is left out in silence."""
    print(f"note: {path} is not read: no format here has the ending {path.suffix}", file=sys.stderr)


def status(root: Path, *, as_json: bool) -> None:
    found = Queue(root).status()
    if as_json:
        print(json.dumps({"queue": str(root), **asdict(found)}, indent=2))
        return
    print(f"ready {len(found.ready):,}, claimed {len(found.claimed):,}, ", end="")
    print(f"done {len(found.done):,}, failed {len(found.failed):,}")
    for held in found.claimed:
        print(f"    {held.job}: attempt {held.attempt} of worker {held.worker}, heard of {held.age_s:.0f} s ago")
    for job, error in found.failed.items():
        print(f"    {job}: {error}")
    if found.failed:
        print(f"Try them again: sae-encode retry --queue {root}")


def retry(root: Path, jobs: list[str] | None) -> None:
    queue = Queue(root)
    unknown = sorted(set(jobs or ()) - set(queue.status().failed))
    if unknown:
        raise InputError(f"{unknown[0]}: no failed job of that name in {root}; `sae-encode status` shows them")
    moved = queue.retry(jobs or None)
    print(f"{len(moved):,} jobs are ready again. Work on them: sae-encode work --queue {root}")
