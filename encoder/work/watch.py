"""`--watch`: submit what is dropped into a queue's inbox, once it has come to rest.

A shard's result is named by its path below the inbox. The SAE is the one named when the worker was started, or else
that of the jobs that the queue has, or else the default.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from encoder.errors import EncoderError, InputError
from encoder.queue.inbox import Inbox
from encoder.queue.queue import Queue
from encoder.work.enqueue import enqueue
from encoder.work.submit import inputs_of, why_not_read


class Watch:
    """Submits what comes to the inbox of `queue`. `named` and `default` are SAEs as tickets have them.

    `extra` are further keys of the tickets. `unread` are the files and folders that came and are not read.
    """

    def __init__(
        self,
        queue: Queue,
        named: dict[str, Any] | None,
        default: dict[str, Any],
        select: dict[str, str],
        stable_s: float,
        **extra: Any,
    ) -> None:
        self._folder = queue.root / "inbox"
        self._inbox = Inbox(self._folder, stable_s)
        self._named, self._default, self._select, self._extra = named, default, select, extra
        self.unread: list[Path] = []

    def submit_what_came(self, queue: Queue) -> Iterator[str]:
        """Submit; yield a line for each entry that cannot be, and for each file or folder in one that is not read."""
        for path in self._inbox.take():
            sae = self._named or _sae_of(queue) or self._default
            unread: list[Path] = []
            try:
                found = inputs_of([path], below=self._folder, unread=unread.append, select=self._select)
                _, refused = enqueue(queue, found, queue.root / "out", sae, self._select, again=True, **self._extra)
                yield from (f"inbox: {reason}" for reason in refused.values())
            except (EncoderError, OSError) as exc:
                yield f"inbox: {exc}"
            yield from (f"note: inbox: {why_not_read(one)}" for one in unread)
            self.unread += unread


def _sae_of(queue: Queue) -> dict[str, Any] | None:
    for job, state in queue.states().items():
        try:
            ticket = queue.ticket(state, job)
        except InputError:
            continue
        if ticket is not None:
            return dict(ticket.sae)
    return None
