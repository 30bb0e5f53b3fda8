"""`saefetch.download`, and what the command shares with it: an order, which a thread works off.

The thread has an event loop of its own. So the function works in a script, in a notebook, whose cells run inside an
event loop already, and in a worker process; and the caller's thread is free to hear signals.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from contextvars import copy_context
from dataclasses import asdict
from pathlib import Path
from typing import Any

from saefetch.downloading.figures import plan_of
from saefetch.downloading.order import Order, take_order
from saefetch.downloading.outcome import Outcome
from saefetch.downloading.run import run_jobs
from saefetch.errors import DownloadError, LockedError, RefusedError, SaefetchError, UsageError
from saefetch.labels import Labels
from saefetch.store.store import Store
from saefetch.terminal.progress import Progress, make_display

CANCELLING_EVERY_S = 0.1
"""How often a caller inside an event loop looks whether its task is being cancelled."""


class _Default(str):
    """A default that the environment or the TOML file may override, unlike the same value given by the caller."""


DEFAULT_SOURCE, DEFAULT_DATA_DIR = _Default("auto"), _Default("sae")


def download(
    sae_release: str | None = None,
    sae_id: str | None = None,
    *,
    neuronpedia_id: str | None = None,
    num_features: int | None = None,
    source: str = DEFAULT_SOURCE,
    features: str | range | None = None,
    refresh: bool = False,
    data_dir: str | Path = DEFAULT_DATA_DIR,
    api_url: str | None = None,
    export_url: str | None = None,
    progress: Progress = True,
    config: str | Path | None = None,
    **settings: Any,
) -> Labels:
    """Get the labels of one SAE that are not here yet, and open all of its labels. Without arguments: the default SAE.

    Each keyword is a flag of `saefetch download`, each of `settings` a key of `config/saefetch.toml`, with the same
    defaults from the same places. `features` is "A:B" or a range. `progress` may be a callable(done, total, text); it
    is called in the thread that downloads.

    Raises: DownloadError where features failed; RefusedError where the server does not know the SAE; LockedError where
    another process is downloading it; UsageError for a wrong argument, also for a pattern as `sae_id`, as a pattern
    names many SAEs. `.outcome` of each holds the object that `--json` prints. Ctrl-C raises KeyboardInterrupt, after
    all answers that came are committed.
    """
    given = settings | {
        "sae_release": sae_release,
        "sae_id": sae_id,
        "neuronpedia_id": neuronpedia_id,
        "num_features": num_features,
        "source": None if isinstance(source, _Default) else source,
        "data_dir": None if isinstance(data_dir, _Default) else data_dir,
        "api_url": api_url,
        "export_url": export_url,
    }
    order = take_order(given, features=features, refresh=refresh, config=None if config is None else Path(config))
    if order.many:
        raise UsageError(
            f"sae_id {sae_id!r} is a pattern, which names {len(order.targets):,} SAEs, and download() returns the"
            f" labels of one: call it for each, or run: saefetch download --sae-id '{sae_id}'"
        )
    with Running(order, progress) as running:
        (outcome,) = running.outcomes()
    if outcome.interrupted:
        raise KeyboardInterrupt
    if outcome.exit_status:
        raise _error(outcome)
    return Labels(Store.open_read_only(outcome.target.folder(order.settings.data_dir)))


def _error(outcome: Outcome) -> SaefetchError:
    kinds: dict[int, type[SaefetchError]] = {2: UsageError, 3: RefusedError, 4: LockedError}
    error = kinds.get(outcome.exit_status, DownloadError)(outcome.error or "")
    error.outcome = asdict(outcome.summary)
    error.__cause__ = outcome.cause
    return error


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no event loop runs in this thread
        return None


class Running:
    """An order that a thread works off. As a context manager: an exception, such as Ctrl-C, interrupts the order."""

    def __init__(self, order: Order, progress: Progress) -> None:
        self._order, self._display = order, make_display(progress, plan_of(order.targets, order.scope))
        self._ended: Future[list[Outcome]] = Future()
        self._interrupt: Callable[[], object] = lambda: None
        self._is_interrupted = False
        # A daemon, as the second Ctrl-C must be able to end the program. A commit is whole or has not happened.
        # In the caller's context, by which a notebook knows the cell that the display belongs to.
        self._thread = threading.Thread(target=copy_context().run, args=(self._work,), name="saefetch", daemon=True)

    def __enter__(self) -> Running:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: object) -> None:
        if kind is not None and not self._ended.done():
            self.interrupt()
            self._ended.exception()

    def outcomes(self) -> list[Outcome]:
        """Wait for the end.

        Raises: KeyboardInterrupt at Ctrl-C. Under `asyncio.run` that comes as a cancelling of the task that called.
        """
        task = _current_task()
        while task is not None and not self._ended.done():
            wait([self._ended], timeout=CANCELLING_EVERY_S)
            if task.cancelling():
                raise KeyboardInterrupt
        return self._ended.result()

    def say(self, line: str) -> None:
        self._display.say(line)

    def close_display(self) -> None:
        self._display.close()

    def interrupt(self) -> None:
        """Stop soon: requests in flight are given up, answers that came are committed. May be called at any time."""
        self._is_interrupted = True
        with suppress(RuntimeError):  # the loop is closed: all is done
            self._interrupt()

    def _work(self) -> None:
        with asyncio.Runner() as runner:
            try:
                # Before the runner is closed, which waits for threads; one may be stuck in a name lookup for long.
                self._ended.set_result(runner.run(self._main()))
            except BaseException as exc:
                self._ended.set_exception(exc)

    async def _main(self) -> list[Outcome]:
        order, loop = self._order, asyncio.get_running_loop()
        working = asyncio.ensure_future(
            run_jobs(
                order.targets,
                order.settings,
                self._display,
                api_key=order.api_key,
                scope=order.scope,
                refresh=order.refresh,
            )
        )
        self._interrupt = lambda: loop.call_soon_threadsafe(working.cancel)
        if self._is_interrupted:
            working.cancel()
        try:
            return await working
        except asyncio.CancelledError:  # before the first job began
            return [Outcome.not_begun(target, order.settings.source) for target in order.targets]
