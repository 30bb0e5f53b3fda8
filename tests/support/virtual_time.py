"""An event loop whose clock jumps: hours of waiting take no time, and every timing is exact.

    run(main())                     asyncio.run, on such a loop
    asyncio.get_running_loop().time()   the clock, for everything that takes one as an argument

When no socket, thread or callback has anything to do, the clock moves to the next timer. A turn of the loop takes a
nanosecond, so that what polls the clock sees it move. A test that would hang fails instead.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
GRACE_S = 0.002
"""For bytes that another end on loopback has sent, but the kernel has not delivered yet."""


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.n_threads = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += 1e-9
        events = super().select(0)
        if events or timeout == 0:
            return events
        if self.n_threads:
            return super().select(None)
        has_sockets = len(self.get_map()) > 1  # the first one is the loop's own pipe
        events = super().select(GRACE_S if has_sockets else 0)
        if not events:
            if timeout is None:
                raise RuntimeError("every task waits for something that can never happen")
            self.now += timeout
        return events


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> asyncio.Future[Any]:
        future = super().run_in_executor(executor, func, *args)
        self._jumping.n_threads += 1
        future.add_done_callback(self._thread_done)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait for the threads, however long: Python 3.12's timeout would be over at once on this clock."""
        self._jumping.n_threads += 1
        await super().shutdown_default_executor()

    def _thread_done(self, _: asyncio.Future[Any]) -> None:
        self._jumping.n_threads -= 1


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run like `asyncio.run`, in virtual time that begins at 0."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


def now() -> float:
    """Return the running loop's time."""
    return asyncio.get_running_loop().time()
