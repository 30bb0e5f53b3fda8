"""`sae-encode work`: one worker process on a queue; also what `run` shares with it: the last words."""

from __future__ import annotations

import json
import shlex
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from encoder.cli.advice import Command, advice
from encoder.machine.signals import signals
from encoder.options import Options
from encoder.queue.queue import Queue
from encoder.readers import parse_select
from encoder.work.by_sae import of_queue
from encoder.work.display import open_display
from encoder.work.named import SaesLike, names_of
from encoder.work.submit import strictly
from encoder.work.watch import Watch
from saefetch.terminal.output import complain, remark, same_command

MAX_NAMED = 50
"""Files that are not read which the summary names; --json names all."""


def work(
    root: Path,
    options: Options,
    named: SaesLike | None,
    select: str | None,
    axes: str | None,
    *,
    watching: bool,
    as_json: bool,
    quiet: bool,
    report: bool,
) -> NoReturn:
    """Work on a queue until it is finished, or for ever."""
    began = time.monotonic()
    queue = Queue(root, lease_s=options.lease_s, max_attempts=options.max_attempts, create=watching)
    import encoder.sae.load  # noqa: F401 - takes torch along: that it cannot be imported is to be known before any job
    from encoder.work.worker import Worker

    watch = None
    if watching:
        default = names_of(options.name_sae(None, None, None))
        extra = {"exclude": options.exclude.document()} if options.exclude else {}
        names = None if named is None else names_of(named)
        watch = Watch(queue, names, default, parse_select(select, axes), options.stable_s, **extra)
    with open_display(not quiet, report=report) as display:
        worker = Worker(queue, options, display, tells_errors=watching)
        with signals(worker.stop) as caught:
            worker.run(watch)
    stopped_by = caught[0] if caught else 0
    if report:  # the process that started this one has the last word
        sys.exit(128 + stopped_by if stopped_by else 0)
    status = queue.status()
    unread = watch.unread if watch is not None else []
    errors = status.failed | (strictly(unread) if options.strict else {})
    summary = {
        **asdict(worker.totals),
        "ready": len(status.ready),
        "claimed": len(status.claimed),
        "errors": errors,
        **of_queue(queue),
        "not_read": [str(path) for path in unread],
        "elapsed_s": round(time.monotonic() - began, 3),
        "out": str(root / "out"),
    }
    again = f"sae-encode retry --queue {shlex.quote(str(root))}"
    finish(summary, stopped_by, again=again, as_json=as_json, quiet=quiet)


def finish(
    summary: dict[str, Any],
    stopped_by: int,
    *,
    again: str,
    as_json: bool,
    quiet: bool,
    run: Command | None = None,
) -> NoReturn:
    """Say how it went and exit: 0, 1 if shards failed or were left over, 128 + the signal if one stopped it.

    `again` is the command that tries failed shards once more, and `run` what it was asked for if it is a `run`; else
    flags that say what a shard's numbers are belong to another command, `submit`.
    """
    left = summary["ready"] + summary["claimed"]
    if as_json:
        print(json.dumps(summary), flush=True)
    else:
        for error, jobs in _by_error(summary["errors"]).items():
            more = f" and {len(jobs) - 1:,} more" if len(jobs) > 1 else ""
            complain(f"{jobs[0]}{more}: {error}", "sae-encode")
        if unread := summary.get("not_read"):
            shown = ", ".join(Path(path).name for path in unread[:MAX_NAMED])
            more = f" and {len(unread) - MAX_NAMED:,} more" if len(unread) > MAX_NAMED else ""
            remark(f"note: {len(unread):,} files or folders were not read: {shown}{more}")
        if not quiet:
            print(_in_words(summary))
        if summary["errors"]:
            print(advice(summary["errors"].values(), again, run), file=sys.stderr)
    if stopped_by:
        same = same_command("sae-encode", "encoder")
        print(f"Interrupted; finished shards are safe. To resume: {same}", file=sys.stderr)
        sys.exit(128 + stopped_by)
    sys.exit(1 if summary["errors"] or left else 0)


def _by_error(errors: dict[str, str]) -> dict[str, list[str]]:
    """Return the jobs of each error, as an SAE that cannot be loaded is the fault of every job."""
    jobs: dict[str, list[str]] = {}
    for job, error in errors.items():
        jobs.setdefault(error, []).append(job)
    return jobs


def _in_words(summary: dict[str, Any]) -> str:
    rows = summary["rows"]
    words = f"{summary['done']:,} shards encoded, {rows:,} tokens"
    n_out = rows - summary["rows_counted"]
    words += f", {n_out:,} of them do not count" if n_out else ""
    words += f", L0 {summary['nnz_counted'] / max(1, summary['rows_counted']):.1f}" if rows else ""
    words += f", {summary['skipped']:,} finished before" if summary["skipped"] else ""
    words += f", {len(summary['errors']):,} failed" if summary["errors"] else ""
    left = summary["ready"] + summary["claimed"]
    words += f", {left:,} not done yet" if left else ""
    if rows and summary["elapsed_s"]:
        words += f" ({summary['elapsed_s']:.1f} s, {rows / summary['elapsed_s']:,.0f} tokens/s)"
    if (ray := summary.get("ray")) is not None:
        words += f"\nworkers {ray['workers']:,}, machines {ray['machines']:,}, worker hours {ray['worker_hours']:,.2f}"
        words += f", workers lost {ray['workers_lost']:,}" if ray["workers_lost"] else ""
    stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in summary["seconds"].items())
    return f"{words}\n{f'{stages}' if stages else 'nothing to do'}\n{summary['out']}"
