"""Work off a source's chunks, many at a time, and commit each one as it comes.

The slots are shared by all jobs of a run. A free slot goes to the earliest job that has work, so the first SAE is never
starved by the later ones, and they use whatever it leaves.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from saefetch.sources import Source
from saefetch.store.answers import Answers

ChunkT = TypeVar("ChunkT")
T = TypeVar("T")
Commit = Callable[[Answers], Coroutine[Any, Any, None]]


class Slots:
    """A semaphore of `n` whose waiters are served by priority, the lowest number first, then by arrival."""

    def __init__(self, n: int) -> None:
        self.n = n
        self._free = n
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._arrivals = 0

    @asynccontextmanager
    async def hold(self, priority: int) -> AsyncIterator[None]:
        await self._acquire(priority)
        try:
            yield
        finally:
            self._release()

    async def _acquire(self, priority: int) -> None:
        if self._free and not self._waiting:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._arrivals += 1
        heapq.heappush(self._waiting, (priority, self._arrivals, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release()  # the slot was handed over at the moment of cancelling: pass it on
            raise

    def _release(self) -> None:
        while self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


async def work_off(
    source: Source[ChunkT],
    chunks: list[ChunkT],
    arrived: Callable[[Answers], None],
    commit: Commit,
    slots: Slots,
    priority: int,
) -> None:
    """Fetch and commit all chunks: `arrived` hears of each answer, `commit` takes in all answers of a chunk.

    What a chunk brought is committed also when it fails, or when this is cancelled.

    Raises: the first error that a `fetch` or a `commit` raised, after the other workers have stopped.
    """
    queue, stopped = iter(chunks), False

    async def get(chunk: ChunkT) -> None:
        nonlocal stopped
        gathered = Answers()
        try:
            async for answers in source.fetch(chunk):
                gathered.add(answers)
                arrived(answers)
        except BaseException:
            stopped = True  # before the slot is passed on
            raise
        finally:
            if gathered:
                await to_the_end(commit(gathered))

    async def worker() -> None:
        for chunk in queue:
            async with slots.hold(priority):
                if stopped:
                    return
                await get(chunk)

    # One more worker than slots: a slot that falls free finds this job waiting, and does not go to a later one.
    await together([worker() for _ in range(min(slots.n + 1, len(chunks)))])


async def together(works: Iterable[Coroutine[Any, Any, T]]) -> None:
    """Run all at the same time. At the first error, or when cancelled, cancel each task once and wait for all.

    A second cancelling would hit the last commit, which a task makes after the first.
    """
    tasks = [asyncio.create_task(work) for work in works]
    if not tasks:
        return
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Await work that has to be finished, also when the caller is cancelled meanwhile."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
