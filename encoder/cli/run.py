"""`sae-encode run`: submit, work until all is done, say how it went.

The queue is `<out>/.queue`: gone when everything is done; what is left of an interrupted run is in it. Several runs
with the same SAE may work on one folder at a time.
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import IO, Any, NoReturn

from encoder.cli.queue import not_read
from encoder.cli.signals import signals
from encoder.cli.work import finish, work_here
from encoder.errors import InputError
from encoder.machine.devices import pick_device
from encoder.options import Options
from encoder.queue.queue import Queue, Status
from encoder.queue.ticket import Ticket
from encoder.readers import parse_select
from encoder.work.display import open_display, relay
from encoder.work.submit import check_folder, check_resumes, finished, inputs_of, tickets_of
from encoder.work.worker import Display, Totals

QUEUE_NAME = ".queue"


def run(
    inputs: list[Path],
    out: Path,
    options: Options,
    config: Path | None,
    sae: dict[str, str | None],
    select_text: str | None,
    *,
    as_json: bool,
    quiet: bool,
) -> NoReturn:
    """Encode all inputs into `out`. Raises: InputError, MismatchError before any work."""
    began = time.monotonic()
    select = parse_select(select_text)
    pick_device(options.device)
    found = inputs_of(inputs, unread=not_read)
    if sys.stderr.isatty() and not quiet:
        print(f"{len(found):,} shards; loading SAELens and the SAE ...", file=sys.stderr)
    from encoder.sae.load import load_named  # takes SAELens along, in seconds: first what costs nothing to refuse

    loaded = load_named(sae)
    settings: dict[str, Any] = {"weights_sha256": loaded.identity["weights_sha256"], "values": options.values}
    check_folder(out, settings)
    tickets = tickets_of(found, out, sae, select)
    settings["select"] = select
    unfinished = partial(_unfinished, tickets, settings, options.strict)
    to_do = unfinished()
    n_finished = len(tickets) - len(to_do)
    root = out / QUEUE_NAME
    totals, stopped_by = Totals(), 0
    status = None
    while status is None and not stopped_by and (to_do or root.is_dir()):
        try:
            queue = Queue(root, lease_s=options.lease_s, max_attempts=options.max_attempts, create=True)
        except OSError as exc:
            raise InputError(f"--out {out}: results cannot be written there: {exc.strerror}") from exc
        check_resumes(queue, tickets, again=True)
        queue.submit(to_do, again=True)
        if options.workers == 1:
            did, stopped_by = work_here(queue, options, None, loaded, quiet=quiet)
        else:
            did, stopped_by = _work_in_processes(queue, options, config, quiet=quiet)
        totals.add(did)
        status = _end(queue)
        to_do = unfinished() if status is None else []
    summary = {
        **asdict(totals),
        "shards": len(tickets),
        "skipped": totals.skipped + n_finished,
        "ready": len(status.ready) if status else 0,
        "claimed": len(status.claimed) if status else 0,
        "failed": len(status.failed) if status else 0,
        "errors": status.failed if status else {},
        "elapsed_s": round(time.monotonic() - began, 3),
        "out": str(out),
    }
    finish(summary, stopped_by, retry=root, as_json=as_json, quiet=quiet)


def _unfinished(tickets: list[Ticket], settings: dict[str, Any], strict: bool) -> list[Ticket]:
    return [one for one in tickets if not finished(Path(one.out), Path(one.shard), settings, strict=strict)]


def _end(queue: Queue) -> Status | None:
    """Return where the jobs are, and remove the queue if all are done; None if another run removed it before."""
    try:
        status = queue.status()
        if status.is_finished and not status.failed:
            queue.root.rename(queue.root.with_name(f"{QUEUE_NAME}.{secrets.token_hex(4)}"))  # gone at once, for others
            for over in queue.root.parent.glob(f"{QUEUE_NAME}.*"):
                shutil.rmtree(over, ignore_errors=True)
    except FileNotFoundError:
        return None
    return status


def _work_in_processes(queue: Queue, options: Options, config: Path | None, *, quiet: bool) -> tuple[Totals, int]:
    """Start the workers, show what they report, pass signals on, wait. One that dies leaves its job to the others."""
    command = [sys.executable, "-m", "encoder", "work", "--queue", str(queue.root), "--report"]
    for name in ("device", "backend", "batch_tokens", "values"):
        command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    command += ["--config", str(config)] if config else []
    command += ["--strict"] if options.strict else []
    totals = Totals()
    with open_display(not quiet) as display:
        workers = [
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
            for _ in range(options.workers)
        ]

        def stop() -> None:
            for worker in workers:
                worker.terminate()

        with signals(stop) as caught:
            lock = threading.Lock()
            readers = [
                threading.Thread(target=_listen, args=(worker.stdout, display, totals, lock)) for worker in workers
            ]
            for reader in readers:
                reader.start()
            for reader in readers:
                reader.join()
        for number, worker in enumerate(workers):
            if worker.wait() < 0:
                display.say(f"worker {number + 1} of {len(workers)} was killed by signal {-worker.returncode}")
    return totals, caught[0] if caught else 0


def _listen(lines: IO[str] | None, display: Display, totals: Totals, lock: threading.Lock) -> None:
    for line in lines or ():
        if line.endswith("\n"):  # not the last words of a killed worker
            with lock:
                totals.add(relay(line, display))
