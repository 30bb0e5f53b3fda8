"""`saefetch download`: run the jobs, obey signals, say how it went."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import signal
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from saefetch.cli.options import parse_scope, targets_of
from saefetch.download.figures import plan_of
from saefetch.download.outcome import Outcome, Summary
from saefetch.download.run import run_jobs
from saefetch.errors import UsageError
from saefetch.names.identity import Target
from saefetch.settings import load_settings
from saefetch.sources.parser import Child
from saefetch.terminal.output import complain, print_json, remark, same_command
from saefetch.terminal.progress import make_display

API_KEY = "NEURONPEDIA_API_KEY"
# malloc.h of glibc, https://man7.org/linux/man-pages/man3/mallopt.3.html
M_ARENA_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD = -8, -3, -1
KEPT_BYTES = 1 << 20
# The worst first: what an outcome of many jobs is summed up as.
_WORST = (3, 4, 2, 1, 0)
OFFLINE = "Nothing was lost; the same command tries again. Without internet, `make demo` shows everything."


def run(
    flags: dict[str, Any],
    *,
    features: str | None,
    refresh: bool,
    config: Path | None,
    as_json: bool,
    quiet: bool,
    child: Child | None,
) -> NoReturn:
    """Download and exit with the status that DESIGN's contract names. `child` parses what the export sends."""
    _tune_memory()
    settings = load_settings(flags, config)
    if child is not None and settings.source not in ("export", "auto"):
        child.end()
        child = None
    targets, many = targets_of(settings, flags)
    scope = parse_scope(features, targets)
    key = _api_key()
    caught: list[signal.Signals] = []

    async def work() -> list[Outcome]:
        this = asyncio.current_task()
        assert this is not None
        display = make_display(not quiet, plan_of(targets, scope))

        def interrupt(number: signal.Signals) -> None:
            caught.append(number)
            if len(caught) == 1:
                this.cancel()
            elif len(caught) == 2:
                display.say("Stopping: what is in flight is being saved. Once more to leave at once; that is safe too.")
            else:
                display.close()
                os._exit(128 + number)

        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, interrupt, number)
        try:
            return await run_jobs(targets, settings, display, api_key=key, scope=scope, refresh=refresh, child=child)
        except asyncio.CancelledError:  # before the first job began
            return [_not_begun(target, settings.source) for target in targets]

    with asyncio.Runner() as runner:
        outcomes = runner.run(work())
        status = min((outcome.exit_status for outcome in outcomes), key=_WORST.index)
        if caught:
            status = 128 + caught[0]
        try:
            _report(outcomes, many=many, as_json=as_json, quiet=quiet)
            if caught:
                remark(f"Interrupted; what was fetched is safe. To resume: {same_command()}")
            sys.stdout.flush()
        except BrokenPipeError:  # nobody wants to know
            pass
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
            print(f"{prefix}{_result(summary)}")
        if summary.labels_path and not (many or as_json or quiet or outcome.interrupted):
            print(summary.labels_path)
    if offline and many:
        remark(OFFLINE)
    if many and not quiet:
        remark(_total(outcomes))


def _result(summary: Summary) -> str:
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


def _not_begun(target: Target, source: str) -> Outcome:
    summary = Summary(target.neuronpedia_id, source, total_features=target.n_features or 0)
    summary.failed = summary.total_features
    return Outcome(target, summary, interrupted=True)


def _tune_memory() -> None:
    """Keep the memory of buffers that come and go, share it between threads, and spare the collector what stays."""
    gc.freeze()  # nothing of what was imported will ever be garbage
    if sys.platform.startswith("linux"):
        with suppress(OSError, AttributeError):  # not glibc, and without its habits
            libc = ctypes.CDLL(None)
            libc.mallopt(M_ARENA_MAX, 1)  # else each thread of each SAE has its own, with what its last SAE left
            libc.mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)  # else each buffer of 128 KiB gets new pages: a tenth of the CPU
            libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


def _api_key() -> str | None:
    key = os.environ.get(API_KEY, "").strip()
    if not key.isascii() or not key.isprintable():
        raise UsageError(f"{API_KEY}: holds characters that no key has; copy it again, or unset it")
    return key or None
