"""What a store can do. Keys are relative to the place that the store was opened at, with `/` between their parts.

    list      what lies below a key          status   size and tag of one object
    folder    what lies in one folder        read     a range of its bytes
    create    write a key that is not there  replace  write a key that is unchanged
    delete    remove a key, if it is there

What is not there raises FileNotFoundError. A store that cannot be reached raises UnreachableError, and one that lets
nobody in InputError: one line each, without credentials.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from mmap import mmap
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Entry:
    """One object. `etag` is another one after each write; two writes of equal bytes may have equal tags."""

    key: str
    size: int
    etag: str


Data = bytes | mmap
"""What is written: a file may be mapped."""
MAX_PUT_BYTES = 5 << 30
"""What one conditional write takes, as it is one PUT."""
_MAX_TRIES = 8


class Store(Protocol):
    """See the module. `place` is what the user named, for messages."""

    place: str

    def list(self, below: str = "") -> Iterator[Entry]:
        """Yield every object below the folder `below`, in no particular order."""

    def folder(self, below: str = "") -> tuple[builtins.list[str], builtins.list[Entry]]:
        """Return the names of the folders in a folder, and the objects in it, in no particular order."""

    def status(self, key: str) -> Entry:
        """Return what the object is now."""

    def read(self, key: str, start: int = 0, stop: int | None = None, *, etag: str | None = None) -> bytes:
        """Return the bytes [start, stop), fewer where the object ends before.

        Raises: ChangingError where the object is another one than that of `etag`.
        """

    def create(self, key: str, data: Data) -> bool:
        """Write an object that is not there yet, whole or not at all.

        False says that the store calls the key taken. Some stores say so of a write that met another one, which then
        failed too: whoever has to know reads the object.
        """

    def replace(self, key: str, data: Data, etag: str) -> bool:
        """Write an object over the one with this tag; False where there is another one, or none."""

    def delete(self, key: str) -> None:
        """Remove the object, if it is there."""


def write_over(store: Store, key: str, data: Data) -> bool:
    """Write an object, whatever is there; False where others were quicker each time that it was tried."""
    for _ in range(_MAX_TRIES):
        with suppress(FileNotFoundError):  # somebody removed it between the two
            if store.create(key, data) or store.replace(key, data, store.status(key).etag):
                return True
    return False


class Below:
    """The names of objects below an address: `place` and `base` are the address and its key."""

    def __init__(self, place: str, base: str) -> None:
        self.place, self._base = place, base

    def _path(self, key: str) -> str:
        """Return an object's name in the bucket."""
        return "/".join(part for part in (self._base, key) if part)

    def _key(self, path: str) -> str:
        """Return the key of an object that has this name in the bucket."""
        return path[len(self._base) + 1 :] if self._base else path

    def _shown(self, key: str) -> str:
        """Return an object's address, for messages."""
        return f"{self.place}/{key}" if key else self.place
