"""`saefetch download`: run the jobs, obey signals, say how it went."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from saefetch.cli.options import parse_scope, print_json, targets_of
from saefetch.download import run_jobs
from saefetch.job import Outcome
from saefetch.progress import make_display
from saefetch.settings import load_settings

API_KEY = "NEURONPEDIA_API_KEY"
# The worst first: what an outcome of many jobs is summed up as.
_WORST = (3, 4, 2, 1, 0)


def run(
    flags: dict[str, Any], *, features: str | None, refresh: bool, config: Path | None, as_json: bool, quiet: bool
) -> NoReturn:
    """Download and exit with the status that DESIGN's contract names."""
    settings = load_settings(flags, config)
    scope = parse_scope(features)
    targets = targets_of(settings, flags)
    caught: list[signal.Signals] = []

    async def main() -> list[Outcome]:
        this = asyncio.current_task()
        assert this is not None
        loop = asyncio.get_running_loop()

        def interrupt(number: signal.Signals) -> None:
            caught.append(number)
            this.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, interrupt, number)
        display = make_display(quiet=quiet, n_jobs=len(targets))
        key = os.environ.get(API_KEY, "").strip() or None
        return await run_jobs(targets, settings, display, api_key=key, scope=scope, refresh=refresh)

    with asyncio.Runner() as runner:
        outcomes = runner.run(main())
        many = len(targets) > 1
        if as_json:
            objects = [asdict(outcome.summary) for outcome in outcomes]
            print_json({"jobs": objects} if many else objects[0])
        for outcome in outcomes:
            _report(outcome, many=many, as_json=as_json, quiet=quiet)
        status = min((outcome.exit_status for outcome in outcomes), key=_WORST.index)
        if caught:
            status = 128 + caught[0]
            print(f"Interrupted; what was fetched is safe. To resume: {_same_command()}", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        # Python would wait for threads first, one of which may be stuck in a name lookup for a long time. All files are
        # closed and all that there is to say is said.
        os._exit(status)


def _report(outcome: Outcome, *, many: bool, as_json: bool, quiet: bool) -> None:
    summary, name = outcome.summary, outcome.target.name
    prefix = f"{name}: " if many else ""
    if not quiet:
        for note in outcome.notes:
            print(f"{prefix}note: {note}", file=sys.stderr)
    if outcome.error:
        print(f"saefetch: {prefix}{outcome.error}", file=sys.stderr)
        if not summary.labels_path and outcome.exit_status == 1:
            advice = "Nothing was lost; the same command tries again. Without internet, `make demo` shows everything."
            print(advice, file=sys.stderr)
    if as_json or not summary.labels_path or outcome.interrupted:
        return
    counts = f"{summary.successful:,} of {summary.total_features:,} features, {summary.with_descriptions:,} with labels"
    for n, what in ((summary.missing, "missing"), (summary.failed, "failed"), (summary.resumed, "already here")):
        counts += f", {n:,} {what}" if n else ""
    work = f"{summary.requests:,} requests, {summary.bytes_received / 1e6:,.1f} MB, {summary.seconds:.1f} s"
    print(f"{prefix}{counts} ({work})")
    if not many:
        print(summary.labels_path)


def _same_command() -> str:
    return shlex.join(["saefetch", *sys.argv[1:]])
