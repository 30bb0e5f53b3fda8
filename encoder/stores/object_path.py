"""An address as the path that everything else takes: its name, its parent, what is in it, its bytes.

    path_of("s3://bucket/acts/0.npy")            -> ObjectPath; of a path or file://, the path
    path.parent / "0.json", path.name            as of a path
    path.is_file(), .iterdir(), .stat()          answered from the store, see `tree`
    path.open("rb")                              an ObjectFile, which reads by ranges

Whoever wants bytes has to open the path. What wants a file of this machine (a map, another library) gets InputError
from `os.fspath`, and never a file of that name in the current folder.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import sys
from collections.abc import Generator, Iterable
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path, PosixPath
from typing import Any, NamedTuple, Self

from encoder.errors import InputError
from encoder.stores.address import Address, place_of
from encoder.stores.ranges import Ranges
from encoder.stores.store import Entry
from encoder.stores.tree import Tree


class ObjectStatus(NamedTuple):
    """What `stat` says: `st_ino` stands for the tag, so two objects are told apart as two files are."""

    st_mode: int
    st_size: int
    st_mtime_ns: int
    st_ino: int
    st_dev: int = 0


class ObjectPath(PosixPath):
    """The path of an object, or of a folder of objects. All paths that are made from one share its `tree`."""

    address: Address
    tree: Tree

    def __new__(cls, address: Address, tree: Tree) -> Self:
        path = super().__new__(cls, str(address))
        path.address, path.tree = address, tree
        return path

    def __init__(self, address: Address, tree: Tree) -> None:
        if sys.version_info >= (3, 12):
            super().__init__(str(address))

    def _at(self, key: str) -> ObjectPath:
        return ObjectPath(Address(self.address.scheme, self.address.bucket, key), self.tree)

    def __str__(self) -> str:
        return str(self.address)

    def __repr__(self) -> str:
        return f"ObjectPath({str(self)!r})"

    def __fspath__(self) -> str:
        raise InputError(f"{self}: an address, and this works with paths of this machine only: name a local copy")

    def __reduce__(self) -> Any:
        return path_of, (str(self),)

    def __truediv__(self, other: str | os.PathLike[str]) -> ObjectPath:
        if isinstance(other, ObjectPath):
            return other
        return self.joinpath(other)

    def __rtruediv__(self, other: str | os.PathLike[str]) -> ObjectPath:
        return self

    def joinpath(self, *others: str | os.PathLike[str]) -> ObjectPath:
        parts = [part for other in others for part in str(other).split("/") if part not in ("", ".")]
        key = self.address.key.split("/") if self.address.key else []
        for part in parts:
            key = key[:-1] if part == ".." else [*key, part]
        return self._at("/".join(key))

    @property
    def parent(self) -> ObjectPath:
        return self._at(self.address.key.rpartition("/")[0])

    @property
    def parents(self) -> tuple[ObjectPath, ...]:
        keys = self.address.key.split("/") if self.address.key else []
        return tuple(self._at("/".join(keys[:n])) for n in range(len(keys) - 1, -1, -1))

    def with_name(self, name: str) -> ObjectPath:
        return self.parent / name

    def with_suffix(self, suffix: str) -> ObjectPath:
        return self.parent / f"{self.stem}{suffix}"

    def relative_to(self, other: Any, *_: Any, **__: Any) -> Path:  # type: ignore[override]
        own, above = self.parts, other.parts
        if not isinstance(other, ObjectPath) or own[: len(above)] != above:
            raise ValueError(f"{self} is not below {other}")
        return Path(*own[len(above) :])

    def absolute(self) -> ObjectPath:
        return self

    def resolve(self, strict: bool = False) -> ObjectPath:
        return self

    def is_absolute(self) -> bool:
        return True

    def as_posix(self) -> str:
        return str(self)

    @property
    def entry(self) -> Entry | None:
        """The object here; None if there is none."""
        return self.tree.entry(self.address.key)

    @property
    def known(self) -> Entry:
        """The object here. Raises: FileNotFoundError."""
        entry = self.entry
        if entry is None:
            raise FileNotFoundError(2, "there is no such object", str(self))
        return entry

    def renewed(self) -> Entry:
        """Return what the object is now. Raises: FileNotFoundError."""
        self.tree.renew(self.address.key)
        return self.known

    @property
    def ranges(self) -> Ranges:
        """The object's bytes. Raises: FileNotFoundError."""
        return self.tree.ranges(self.known)

    def exists(self, *_: Any, **__: Any) -> bool:
        return self.is_file() or self.is_dir()

    def is_file(self, *_: Any, **__: Any) -> bool:
        return self.entry is not None

    def is_dir(self, *_: Any, **__: Any) -> bool:
        return self.entry is None and self.tree.is_folder(self.address.key)

    def is_symlink(self) -> bool:
        return False

    def samefile(self, other: Any) -> bool:
        return isinstance(other, ObjectPath) and self.address == other.address

    def stat(self, *_: Any, **__: Any) -> Any:
        entry = self.entry
        if entry is None and self.is_dir():
            return ObjectStatus(stat.S_IFDIR | 0o755, 0, 0, 0)
        entry = self.known
        return ObjectStatus(stat.S_IFREG | 0o644, entry.size, 0, number_of(entry.etag))

    def iterdir(self) -> Generator[Any, None, None]:
        for name in self.tree.folder(self.address.key):
            yield self / name

    def glob(self, pattern: str, *_: Any, **__: Any) -> Generator[Any, None, None]:
        yield from (path for path in self.iterdir() if fnmatchcase(path.name, pattern))

    def rglob(self, pattern: str, *_: Any, **__: Any) -> Generator[Any, None, None]:
        for path in self.iterdir():
            if fnmatchcase(path.name, pattern):
                yield path
            if path.is_dir():
                yield from path.rglob(pattern)

    def open(self, mode: str = "r", *_: Any, **__: Any) -> Any:
        if mode != "rb":
            raise InputError(f"{self}: an address, and this writes to paths of this machine only")
        local: Path | None = self.tree.made("local", self.known)
        return ObjectFile(self) if local is None else local.open("rb", buffering=0)

    def read_bytes(self) -> bytes:
        ranges = self.ranges
        return ranges.read(0, ranges.size)

    def mkdir(self, *_: Any, **__: Any) -> None:
        """Do nothing: folders of objects are their names."""

    def rmdir(self) -> None:
        """Do nothing."""


class ObjectFile(io.RawIOBase):
    """An open object: `read`, `seek`, and `pread` as of a file."""

    def __init__(self, path: ObjectPath) -> None:
        self.path, self.entry = path, path.known
        self._position = 0

    @cached_property
    def ranges(self) -> Ranges:
        return self.path.tree.ranges(self.entry)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.entry.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, n_bytes: int = -1) -> bytes:
        data = self.pread(self.entry.size if n_bytes is None or n_bytes < 0 else n_bytes, self._position)
        self._position += len(data)
        return data

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, out: Any) -> int:
        view = memoryview(out).cast("B")
        n_bytes = max(0, min(len(view), self.entry.size - self._position))
        self.ranges.fill(view[:n_bytes], self._position)
        self._position += n_bytes
        return n_bytes

    def pread(self, n_bytes: int, offset: int) -> bytes:
        """Return at most `n_bytes` from `offset` on, fewer at the end."""
        return self.ranges.read(offset, n_bytes)


def path_of(named: str | Path | Address, like: Path | None = None) -> Path:
    """Return the path that is named; an address in the bucket of `like` shares its tree.

    Raises: InputError for an address that cannot be used.
    """
    if isinstance(named, ObjectPath):
        return named
    place = place_of(named)
    if isinstance(place, Path):
        return place
    if isinstance(like, ObjectPath) and like.address.root == place.root:
        return ObjectPath(place, like.tree)
    from encoder.stores.opened import open_store

    return ObjectPath(place, Tree(open_store(Address(place.scheme, place.bucket, ""))))


def path_in(root: Path, text: str) -> Path:
    """Return the path that a ticket in the folder `root` says: an address, or a path, absolute or relative to it."""
    named = path_of(text)
    return named if isinstance(named, ObjectPath) else root / named


def pread(file: Any, n_bytes: int, offset: int) -> bytes:
    """Return at most `n_bytes` of an open file or object, from `offset` on."""
    return file.pread(n_bytes, offset) if isinstance(file, ObjectFile) else os.pread(file.fileno(), n_bytes, offset)


def number_of(etag: str) -> int:
    """Return a number that another tag has not."""
    return int.from_bytes(hashlib.sha256(etag.encode()).digest()[:7], "big")


def is_there(path: Path) -> bool:
    """Say whether the name is taken, also by a link that leads nowhere."""
    return path.exists() if isinstance(path, ObjectPath) else os.path.lexists(path)


class Places:
    """Paths by their names: `places(name)`. Those of one bucket share what is known of it."""

    def __init__(self, paths: Iterable[Path] = ()) -> None:
        self._of_buckets: dict[str, ObjectPath] = {}
        for path in paths:
            self(path)

    def __call__(self, named: str | Path) -> Path:
        place = place_of(named)
        if isinstance(place, Path):
            return place
        new = path_of(named, self._of_buckets.get(place.root))
        if not isinstance(new, ObjectPath):
            return new
        known = self._of_buckets.setdefault(place.root, new)
        return ObjectPath(place, known.tree)

    def forget(self) -> None:
        """Look again at what there is."""
        for path in self._of_buckets.values():
            path.tree.forget()
