"""`sae-encode run` and `work`: load, work, obey signals, say how it went."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from encoder.cli.display import make_display
from encoder.cli.queue import Sae, sae_of
from encoder.errors import EncoderError, MismatchError
from encoder.feature_file import open_file
from encoder.options import Options, load_options
from encoder.queue import Queue
from encoder.readers import parse_select
from encoder.sae import LoadedSae, load_sae
from encoder.submit import finished, inputs_of, tickets_of
from encoder.worker import Totals, Watch, Worker

QUEUE_NAME = ".queue"
POLL_S = 0.3


def run(
    inputs: list[Path],
    out: Path,
    sae: Sae,
    select_text: str | None,
    flags: dict[str, Any],
    config: Path | None,
    as_json: bool,
    quiet: bool,
) -> NoReturn:
    """Encode all inputs into `out`. The queue is `<out>/.queue`, gone when everything is done."""
    began = time.monotonic()
    options, select = load_options(flags, config), parse_select(select_text)
    ticket_sae = sae_of(sae)
    found = inputs_of(inputs)
    loaded = load_sae(*sae)
    settings = {"weights_sha256": loaded.identity["weights_sha256"], "values": options.values, "select": select}
    check_folder(out, settings)
    tickets = tickets_of(found, out, ticket_sae, select)
    open_tickets = [ticket for ticket in tickets if not finished(ticket, settings)]
    out.mkdir(parents=True, exist_ok=True)
    root = out / QUEUE_NAME
    totals, stopped_by = Totals(), 0
    failed: dict[str, str] = {}
    if open_tickets:
        queue = Queue(root, lease_s=options.lease_s, max_attempts=options.max_attempts, create=True)
        queue.submit(open_tickets, again=True)
        if options.workers == 1:
            totals, stopped_by = _work_here(queue, options, None, loaded, quiet)
        else:
            totals, stopped_by = _work_in_processes(queue, options, config, quiet)
        failed = queue.status().failed
        if queue.status().is_finished and not failed:
            shutil.rmtree(root)
    skipped = len(tickets) - len(open_tickets)
    summary = {
        "shards": len(tickets),
        "done": len(tickets) - skipped - len(failed) if not stopped_by else totals.done,
        "skipped": skipped,
        "failed": len(failed),
        "errors": failed,
        "warnings": totals.warnings,
        "rows": totals.rows,
        "nnz": totals.nnz,
        "seconds": round(time.monotonic() - began, 3),
        "seconds_by_stage": {stage: round(seconds, 3) for stage, seconds in totals.seconds.items()},
        "out": str(out),
    }
    _finish(summary, stopped_by, as_json=as_json, quiet=quiet, root=root)


def work(
    root: Path,
    watching: bool,
    sae: Sae,
    select_text: str | None,
    flags: dict[str, Any],
    config: Path | None,
    as_json: bool,
    quiet: bool,
) -> NoReturn:
    """Work on a queue until it is finished, or for ever."""
    began = time.monotonic()
    options = load_options(flags, config)
    queue = Queue(root, lease_s=options.lease_s, max_attempts=options.max_attempts, create=watching)
    watch = None
    if watching:
        watch = Watch(queue, root / "out", sae_of(sae), parse_select(select_text), options.stable_s)
    totals, stopped_by = _work_here(queue, options, watch, None, quiet)
    summary = asdict(totals) | {
        "seconds": round(time.monotonic() - began, 3),
        "seconds_by_stage": {stage: round(seconds, 3) for stage, seconds in totals.seconds.items()},
        "errors": queue.status().failed,
        "out": str(root / "out"),
    }
    _finish(summary, stopped_by, as_json=as_json, quiet=quiet, root=root)


def check_folder(out: Path, settings: dict[str, Any]) -> None:
    """Refuse a folder that holds results of other settings. Raises: MismatchError with what differs."""
    for path in sorted(out.glob("*.npz")) if out.is_dir() else []:
        with suppress(EncoderError):
            meta = open_file(path).meta
            for key, wanted in settings.items():
                if key in meta and meta[key] != wanted:
                    raise MismatchError(
                        f"{path} was made with {key} {meta[key]!r}, now it is {wanted!r}; choose another --out"
                    ) from None


def _work_here(
    queue: Queue, options: Options, watch: Watch | None, sae: LoadedSae | None, quiet: bool
) -> tuple[Totals, int]:
    with make_display(quiet=quiet) as display:
        worker = Worker(queue, options, display, sae=sae)
        with _signals(worker.stop) as caught:
            worker.run(watch)
    return worker.totals, caught[0] if caught and worker.stopped else 0


def _work_in_processes(queue: Queue, options: Options, config: Path | None, quiet: bool) -> tuple[Totals, int]:
    """Start the workers, pass signals on, wait; a worker that dies is not missed as long as another lives."""
    command = [sys.executable, "-m", "encoder", "work", "--queue", str(queue.root), "--quiet", "--json"]
    for name in ("device", "backend", "batch_tokens", "values"):
        command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    command += ["--config", str(config)] if config else []
    command += ["--strict"] if options.strict else []
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(options.workers)]

    def stop() -> None:
        for process in processes:
            process.terminate()

    with make_display(quiet=quiet) as display, _signals(stop) as caught:
        shown = -1
        while any(process.poll() is None for process in processes):
            time.sleep(POLL_S)
            n_done = len(queue.status().done)
            if n_done != shown:
                shown = n_done
                display.say(f"{n_done:,} shards done by {options.workers} workers")
    totals = Totals()
    for process in processes:
        output = process.stdout.read() if process.stdout else ""
        with suppress(json.JSONDecodeError):
            told = json.loads(output)
            totals.done, totals.rows, totals.nnz = (
                totals.done + told["done"],
                totals.rows + told["rows"],
                totals.nnz + told["nnz"],
            )
            totals.warnings += told["warnings"]
            for stage, seconds in told["seconds_by_stage"].items():
                totals.seconds[stage] = totals.seconds.get(stage, 0.0) + seconds
    return totals, caught[0] if caught else 0


@contextmanager
def _signals(stop: Any) -> Iterator[list[int]]:
    """Call `stop` at the first SIGINT or SIGTERM; a second one ends the process at once, which loses nothing either."""
    caught: list[int] = []

    def handle(number: int, _frame: Any) -> None:
        caught.append(number)
        stop()
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _finish(summary: dict[str, Any], stopped_by: int, *, as_json: bool, quiet: bool, root: Path) -> NoReturn:
    if as_json:
        print(json.dumps(summary, indent=2))
    else:
        for job, error in summary["errors"].items():
            print(f"sae-encode: {job}: {error}", file=sys.stderr)
        l0 = summary["nnz"] / max(1, summary["rows"])
        counts = f"{summary['done']:,} shards encoded, {summary['rows']:,} tokens, L0 {l0:.1f}"
        counts += f", {summary['skipped']:,} finished before" if summary["skipped"] else ""
        counts += f", {len(summary['errors']):,} failed" if summary["errors"] else ""
        print(f"{counts} ({summary['seconds']:.1f} s) in {summary['out']}")
        if summary["errors"]:
            print(f"Once mended: sae-encode retry --queue {root}", file=sys.stderr)
    if stopped_by:
        again = shlex.join(["sae-encode", *sys.argv[1:]])
        print(f"Interrupted; finished shards are safe. To resume: {again}", file=sys.stderr)
        sys.exit(128 + stopped_by)
    sys.exit(1 if summary["errors"] else 0)
