"""The lease of a job, renewed beside the work on it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from encoder.errors import FencedError
from encoder.queue.claim import Claim


@contextmanager
def heartbeat(claim: Claim, lease_s: float) -> Iterator[threading.Event]:
    """Renew the lease while the block runs; the event is set when it is lost."""
    lost, over = threading.Event(), threading.Event()

    def beat() -> None:
        while not over.wait(lease_s / 4):
            try:
                claim.renew()
            except FencedError:
                lost.set()
                return
            except OSError:
                continue  # a network folder may answer again before the lease runs out

    thread = threading.Thread(target=beat, name="lease", daemon=True)
    thread.start()
    try:
        yield lost
    finally:
        over.set()
        thread.join()
