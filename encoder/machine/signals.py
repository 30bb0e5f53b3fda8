"""SIGINT and SIGTERM in what may take long: the first signal stops it in order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

BOTH = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def signals(stop: Callable[[], None], numbers: Iterable[int] = BOTH) -> Iterator[list[int]]:
    """Call `stop` at the first of these signals; a second signal does what it did before. Gives the signals that came.

    Signals reach the main thread alone: in any other, nothing is caught.
    """
    caught: list[int] = []

    def handle(number: int, _frame: Any) -> None:
        caught.append(number)
        stop()
        restore()

    def restore() -> None:
        for each, handler in before.items():
            signal.signal(each, handler)

    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, handle) for number in (numbers if is_main else ())}
    try:
        yield caught
    finally:
        restore()
