"""Which stores hold an SAE, by its Neuronpedia id; and those stores, open for reading, as many as are in use.

The folders are looked through when a name is asked for that is not known. Whose store it is never changes, so each
file is asked once. An open store is checked at each use: a file that was removed or replaced is opened anew. Stores
that nobody asks for are closed after a while.

A download that ends folds the write-ahead log into the store's one file, which it cannot while somebody reads. So the
shelf does that later, for the stores that it has read: `Shelf._fold`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from saefetch.errors import StoreError
from saefetch.files.lock import LOCK_NAME
from saefetch.inventory import folders, is_empty
from saefetch.names import registry
from saefetch.service.mirror.feature import Sae
from saefetch.store.one import One
from saefetch.store.store import FILE_NAME, Store

MOST_OPEN = 64
CACHE_KB = 1000
IDLE_S = 3.0
REST = 4.0
"""How long after a look through the folders the next one begins, as a multiple of the time that it took: whoever asks
for names that are not here takes a fifth of one core at the most."""
FileId = tuple[int, int]
Key = tuple[Path, FileId]


class Reader:
    """One open store."""

    def __init__(self, folder: Path, file_id: FileId) -> None:
        self.folder, self.file_id = folder, file_id
        self._store = Store.open_read_only(folder)
        try:
            self._store.connection.execute(f"PRAGMA cache_size = -{CACHE_KB}")
            self.sae = self._look()
        except BaseException:
            self._store.close()
            raise
        self.used_at = 0.0

    def _look(self) -> Sae:
        release, sae_id, name = (str(self._store.meta(key, "")) for key in ("release", "sae_id", "neuronpedia_id"))
        known = registry.find(release, sae_id)
        model, _, source = name.partition("/")
        return Sae(model, source, (known.d_sae or 0) if known and known.neuronpedia_id == name else 0)

    def read(self, index: int) -> One:
        """Raises: StoreError."""
        return self._store.one(index)

    def close(self) -> None:
        self._store.close()


class Shelf:
    """The stores under a data dir. Used in the event loop only; `close` it in the end."""

    def __init__(
        self,
        data_dir: Path,
        *,
        most_open: int = MOST_OPEN,
        idle_s: float = IDLE_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._data_dir, self._most_open, self._idle_s, self._now = data_dir, most_open, idle_s, now
        self._folders: dict[str, list[Path]] = {}
        self._whose: dict[Key, str] = {}
        self._unreadable = ""
        self._open: OrderedDict[Path, Reader] = OrderedDict()
        self._look: asyncio.Task[None] | None = None
        self._one_look, self._look_due, self.n_looks = asyncio.Lock(), now(), 0
        self._tidying: asyncio.TimerHandle | None = None
        self._read: set[Path] = set()
        self._folding: asyncio.Task[None] | None = None

    async def readers(self, model: str, source: str) -> list[Reader]:
        """Return the stores of an SAE, in the order of their folders; none where it is not here.

        They are for use at once: what else is asked for may close them.

        Raises: StoreError where one of them cannot be read, or one that may be the SAE's.
        """
        name = f"{model}/{source}"
        found = self._opened(name)
        if not found:
            await self._look_again()
            found = self._opened(name)
            if not found and self._unreadable:
                raise StoreError(f"{self._unreadable}; so it is not known whether it holds {name[:200]}")
        return found

    @property
    def n_open(self) -> int:
        return len(self._open)

    def _opened(self, name: str) -> list[Reader]:
        return [reader for folder in self._folders.get(name, ()) if (reader := self._reader(folder)) is not None]

    def _reader(self, folder: Path) -> Reader | None:
        file_id = file_id_of(folder)
        reader = self._open.get(folder)
        if reader is not None and reader.file_id != file_id:
            self._open.pop(folder).close()
            reader = None
        if file_id is None or (reader is None and (folder, file_id) not in self._whose):
            return None
        if reader is None:
            while len(self._open) >= self._most_open:
                self._open.popitem(last=False)[1].close()
            reader = self._open[folder] = Reader(folder, file_id)
            self._read.add(folder)
            self._tidy_later()
        self._open.move_to_end(folder)
        reader.used_at = self._now()
        return reader

    async def _look_again(self) -> None:
        """Go through the folders once, from now on, for all who ask until that begins."""
        if self._look is None:
            self._look = asyncio.create_task(self._go_through())
        await asyncio.shield(self._look)

    async def _go_through(self) -> None:
        async with self._one_look:
            await asyncio.sleep(self._look_due - self._now())
            self._look = None  # whoever asks from here on may ask for what this look has passed already
            began = self._now()
            whose, self._unreadable = await asyncio.to_thread(_names_of, self._data_dir, self._whose)
            self.n_looks += 1
            self._look_due = self._now() + REST * (self._now() - began)
        found: dict[str, list[Path]] = {}
        for (folder, _), name in whose.items():
            found.setdefault(name, []).append(folder)
        self._whose, self._folders = whose, found

    def _tidy_later(self) -> None:
        if self._tidying is None:
            self._tidying = asyncio.get_running_loop().call_later(self._idle_s, self._tidy)

    def _tidy(self) -> None:
        self._tidying = None
        idle = [folder for folder, reader in self._open.items() if self._now() - reader.used_at >= self._idle_s]
        for folder in idle:
            self._open.pop(folder).close()
        self._folding = asyncio.create_task(self._fold())

    async def _fold(self) -> None:
        """Fold the logs into the stores that nobody writes to. SQLite refuses where somebody does all the same."""
        for folder in list(self._read):
            if not has_log(folder) or not os.access(folder, os.W_OK):
                if folder not in self._open:
                    self._read.discard(folder)
            elif not (folder / LOCK_NAME).exists():
                with suppress(StoreError):
                    store = await asyncio.to_thread(_open_with_empty_log, folder)
                    if (reader := self._open.pop(folder, None)) is not None:
                        reader.close()
                    with closing(store):
                        store.settle()
        if self._read:
            self._tidy_later()

    def close(self) -> None:
        for waiting in (self._tidying, self._folding, self._look):
            if waiting is not None:
                waiting.cancel()
        for reader in self._open.values():
            reader.close()
        self._open.clear()


def file_id_of(folder: Path) -> FileId | None:
    try:
        stat = os.stat(f"{folder}/{FILE_NAME}")  # noqa: PTH116  a Path takes longer than the call, at each request
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def has_log(folder: Path) -> bool:
    return (folder / f"{FILE_NAME}-wal").exists()


def _open_with_empty_log(folder: Path) -> Store:
    """Open a store for writing and copy its log into the file, which takes long; what is left to do does not.

    Raises: StoreError, also where somebody has removed the store: it is not to be made anew here.
    """
    if file_id_of(folder) is None:
        raise StoreError(f"{folder / FILE_NAME}: not there")
    store = Store.open(folder)
    try:
        list(store.query("PRAGMA wal_checkpoint(PASSIVE)"))
    except BaseException:
        store.close()
        raise
    return store


def _names_of(data_dir: Path, known: dict[Key, str]) -> tuple[dict[Key, str], str]:
    """Return the Neuronpedia id of each store that has one, and what keeps one from being read; "" where all can be.

    `known` are those of before. A file that holds nothing is none: its download has just begun, or never did.
    """
    found, unreadable = {}, ""
    for folder in folders(data_dir):
        file_id = file_id_of(folder)
        if file_id is None:
            continue
        name = known.get((folder, file_id))
        if name is None:
            try:
                with closing(Store.open_read_only(folder)) as store:
                    name = store.meta("neuronpedia_id")
            except StoreError as exc:
                if not is_empty(folder):
                    unreadable = str(exc)
        if isinstance(name, str) and name.count("/") == 1:
            found[folder, file_id] = name
    return found, unreadable
