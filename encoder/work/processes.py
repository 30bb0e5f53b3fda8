"""Several worker processes on one queue: started, listened to, stopped and waited for.

Each is `sae-encode work --report OPTIONS`: OPTIONS are this process's, as JSON, and what the worker does comes back as
JSON lines. A worker that dies leaves its job to the others. A worker whose parent dies stops by itself.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import IO

from encoder.options import Options
from encoder.queue.queue import Queue
from encoder.work.display import relay
from encoder.work.totals import Display, Totals

POLL_S = 0.1


def work_in_processes(queue: Queue, options: Options, display: Display, stopping: threading.Event) -> Totals:
    """Let `options.workers` processes work until the queue is finished, or `stopping` is set; return what they did."""
    report = options.model_dump_json()
    command = [sys.executable, "-m", "encoder", "work", "--queue", str(queue.root), "--report", report]
    workers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        for _ in range(options.workers or 1)
    ]
    totals, lock = Totals(), threading.Lock()
    listeners = [threading.Thread(target=_listen, args=(one.stdout, display, totals, lock)) for one in workers]
    try:
        for listener in listeners:
            listener.start()
        while any(listener.is_alive() for listener in listeners) and not stopping.wait(POLL_S):
            pass
    finally:
        if stopping.is_set() or sys.exc_info()[0] is not None:
            for worker in workers:
                worker.terminate()
        for listener in listeners:
            listener.join()
    for number, worker in enumerate(workers):
        if worker.wait() < 0:
            display.say(f"worker {number + 1} of {len(workers)} was killed by signal {-worker.returncode}")
    return totals


def _listen(lines: IO[str] | None, display: Display, totals: Totals, lock: threading.Lock) -> None:
    for line in lines or ():
        if line.endswith("\n"):  # not the last words of a killed worker
            with lock:
                totals.add(relay(line, display))
