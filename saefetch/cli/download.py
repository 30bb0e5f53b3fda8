"""`saefetch download`: take the order, work it off, obey signals, say how it went."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from saefetch.downloading.api import Running
from saefetch.downloading.order import take_order
from saefetch.downloading.outcome import Outcome, Summary
from saefetch.terminal.output import complain, print_json, remark, same_command

# malloc.h of glibc, https://man7.org/linux/man-pages/man3/mallopt.3.html
M_ARENA_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD = -8, -3, -1
KEPT_BYTES = 1 << 20
# The exit statuses, the worst first: a run of many SAEs ends with the worst of theirs.
_WORST = (3, 4, 2, 1, 0)
OFFLINE = "Nothing was lost; the same command tries again. Without internet, `make demo` shows everything."


def run(
    flags: dict[str, Any], *, features: str | None, refresh: bool, config: Path | None, as_json: bool, quiet: bool
) -> NoReturn:
    """Download, report, and end the process with the exit status that `--help` lists."""
    tune_memory()
    order = take_order(flags, features=features, refresh=refresh, config=config)
    caught: list[signal.Signals] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        caught.append(signal.Signals(number))
        if len(caught) == 1:
            running.interrupt()
        elif len(caught) == 2:
            running.say("Stopping: what is in flight is being saved. Once more to leave at once; that is safe too.")
        else:
            running.close_display()
            os._exit(128 + number)

    with Running(order, progress=not quiet) as running:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, interrupt)
        outcomes = running.outcomes()
    status = min((outcome.exit_status for outcome in outcomes), key=_WORST.index)
    if caught:
        status = 128 + caught[0]
    with suppress(BrokenPipeError):  # nobody wants to know
        _report(outcomes, many=order.many, as_json=as_json, quiet=quiet)
        if caught:
            remark(f"Interrupted; what was fetched is safe. To resume: {same_command()}")
        sys.stdout.flush()
    # Python would wait for threads first, one of which may be stuck in a name lookup for a long time. All files are
    # closed and all that there is to say is said.
    os._exit(status)


def _report(outcomes: list[Outcome], *, many: bool, as_json: bool, quiet: bool) -> None:
    """Say how the jobs ended: results on stdout, remarks and errors on stderr."""
    if as_json:
        objects = [asdict(outcome.summary) for outcome in outcomes]
        print_json({"jobs": objects} if many else objects[0])
    offline = False
    for outcome in outcomes:
        summary = outcome.summary
        prefix = f"{outcome.target.name}: " if many else ""
        in_vain = outcome.exit_status == 1 and not summary.labels_path
        offline |= in_vain
        if not (quiet or in_vain):  # then the error alone says it
            for note in outcome.notes:
                remark(f"{prefix}note: {note}")
        if outcome.error:
            complain(f"{prefix}{outcome.error}" + (f". {OFFLINE}" if in_vain and not many else ""))
        elif summary.labels_path and not (as_json or quiet or outcome.interrupted):
            print(f"{prefix}{result_line(summary)}")
        if summary.labels_path and not (many or as_json or quiet or outcome.interrupted):
            print(summary.labels_path)
    if offline and many:
        remark(OFFLINE)
    if many and not quiet:
        remark(_total(outcomes))


def result_line(summary: Summary) -> str:
    """Say what an SAE's labels are now, and what work that was."""
    counts = f"{summary.successful:,} of {summary.total_features:,} features, {summary.with_descriptions:,} with labels"
    for n, what in ((summary.missing, "missing"), (summary.failed, "failed"), (summary.resumed, "already here")):
        counts += f", {n:,} {what}" if n else ""
    return f"{counts} ({_work([summary])}, {summary.seconds:.1f} s)"


def _total(outcomes: list[Outcome]) -> str:
    n_done = sum(outcome.exit_status == 0 and not outcome.interrupted for outcome in outcomes)
    n_failed = sum(outcome.exit_status != 0 for outcome in outcomes)
    failed = f", {n_failed:,} failed" if n_failed else ""
    return f"{n_done:,} of {len(outcomes):,} SAEs complete{failed} ({_work([outcome.summary for outcome in outcomes])})"


def _work(summaries: list[Summary]) -> str:
    n_requests, n_bytes = (sum(getattr(s, name) for s in summaries) for name in ("requests", "bytes_received"))
    return f"{n_requests:,} requests, {n_bytes / 1e6:,.1f} MB"


def tune_memory() -> None:
    """Let glibc keep and share the memory of short-lived buffers, and let the collector skip the imported modules."""
    gc.freeze()  # nothing of what was imported will ever be garbage
    if sys.platform.startswith("linux"):
        with suppress(OSError, AttributeError):  # not glibc, and without its habits
            libc = ctypes.CDLL(None)
            libc.mallopt(M_ARENA_MAX, 1)  # else each thread has an arena of its own, full of leftovers of its last SAE
            libc.mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)  # else each buffer of 128 KiB gets new pages: a tenth of the CPU
            libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
