"""One SAE's folder for as long as a job has it: locked, its store open, one thread for all that waits for the disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from saefetch.errors import StoreError
from saefetch.files.lock import lock_folder
from saefetch.names.identity import Target
from saefetch.store.answers import Answers
from saefetch.store.store import Store
from saefetch.times import utc_now

T = TypeVar("T")
INTERRUPT_EVERY_S = 0.02


class Session:
    """A folder that this process alone writes to. `store` may be read at any time; writing to it is for `writing`."""

    def __init__(self, folder: Path, store: Store, writer: ThreadPoolExecutor) -> None:
        self.folder, self.store = folder, store
        self._writer = writer

    async def writing(self, work: Callable[[], T]) -> T:
        """Do something in the thread of the store."""
        return await asyncio.get_running_loop().run_in_executor(self._writer, work)

    async def commit(self, answers: Answers) -> None:
        await self.writing(partial(self.store.commit, answers, utc_now()))

    async def writing_unless_cancelled(self, work: Callable[[], None]) -> None:
        """Do something long, and stop it in the middle of a statement when this is cancelled.

        A statement that is stopped raises StoreError in `work`. That error is swallowed here, because a traceback would
        keep the statement open, and SQLite would interrupt the later statements too.
        """
        interrupted = False

        def run() -> None:
            try:
                work()
            except StoreError:
                if not interrupted:
                    raise

        working = asyncio.ensure_future(self.writing(run))
        try:
            await asyncio.shield(working)
        except asyncio.CancelledError:
            interrupted = True
            while not working.done():
                self.store.interrupt()  # again and again, as it stops only the statement that runs at that moment
                await asyncio.wait([working], timeout=INTERRUPT_EVERY_S)
            raise


@asynccontextmanager
async def open_session(target: Target, data_dir: Path) -> AsyncIterator[Session]:
    """Lock the SAE's folder and open its store. A store that was made here and got nothing is removed again.

    Raises: LockedError where another process has the folder; StoreError where the folder or the store cannot be used.
    """
    loop = asyncio.get_running_loop()
    with _hold(target.folder(data_dir), data_dir) as folder, ThreadPoolExecutor(1, "store") as writer:
        opened: list[Store] = []
        try:
            await asyncio.shield(loop.run_in_executor(writer, lambda: opened.append(Store.open(folder))))
            yield Session(folder, opened[0], writer)
        finally:
            # Also where this was cancelled while the thread was opening: it does one thing after the other.
            writer.submit(_close, opened).result()


@contextmanager
def _hold(folder: Path, data_dir: Path) -> Iterator[Path]:
    """Make the folder and lock it. In the end, remove it and the folders made above it, if they are empty."""
    made = [folder, folder.parent]
    if not data_dir.exists():  # an existing one is the user's own
        made.append(data_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise StoreError(f"{folder}: cannot be made: {exc.strerror}; choose another --data-dir") from exc
    try:
        with lock_folder(folder):
            yield folder
    finally:
        with suppress(OSError):  # not empty, as a rule
            for path in made:
                path.rmdir()


def _close(opened: list[Store]) -> None:
    for store in opened:
        is_empty = not store.generation
        with suppress(StoreError):  # a reader has it open: then its write-ahead log stays until the next run
            store.settle()
        store.close()
        if is_empty:
            store.path.unlink(missing_ok=True)
