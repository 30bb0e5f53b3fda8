"""A folder as a store. A link gives a file its name, so of all who create a name exactly one does.

The tag of a file is its size, mtime and inode. `replace` holds a lock on the file's folder while it looks and renames.
"""

from __future__ import annotations

import builtins
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from encoder.errors import ChangingError, InputError
from encoder.stores.store import Data, Entry
from saefetch.files.atomic import fsync_folder


class FolderStore:
    """The files below `root`; hidden ones are not listed, as temporary files are."""

    def __init__(self, root: Path) -> None:
        self.root, self.place = root, str(root)

    def list(self, below: str = "") -> Iterator[Entry]:
        for folder, folders, names in os.walk(self.root / below):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                path = Path(folder, name)
                if not name.startswith(".") and path.is_file():
                    yield _entry(path.relative_to(self.root).as_posix(), path.stat())

    def folder(self, below: str = "") -> tuple[builtins.list[str], builtins.list[Entry]]:
        folders, entries = [], []
        with suppress(FileNotFoundError, NotADirectoryError):
            for path in (self.root / below).iterdir():
                if path.name.startswith("."):
                    continue
                if path.is_dir():
                    folders.append(path.name)
                elif path.is_file():
                    entries.append(_entry(path.relative_to(self.root).as_posix(), path.stat()))
        return folders, entries

    def status(self, key: str) -> Entry:
        return _entry(key, (self.root / key).stat())

    def read(self, key: str, start: int = 0, stop: int | None = None, *, etag: str | None = None) -> bytes:
        with (self.root / key).open("rb") as file:
            there = _entry(key, os.fstat(file.fileno()))
            if etag is not None and there.etag != etag:
                raise ChangingError(f"{self.root / key}: changed while it was read; try it again when it is complete")
            file.seek(start)
            return file.read(-1 if stop is None else max(0, stop - start))

    def create(self, key: str, data: Data) -> bool:
        with self._temporary(key, data) as temporary:
            try:
                os.link(temporary, self.root / key)
            except FileExistsError:
                return False
            fsync_folder(temporary.parent)
            return True

    def replace(self, key: str, data: Data, etag: str) -> bool:
        path = self.root / key
        with self._temporary(key, data) as temporary, _locked(path.parent):
            try:
                if self.status(key).etag != etag:
                    return False
            except FileNotFoundError:
                return False
            temporary.replace(path)
            fsync_folder(path.parent)
            return True

    def delete(self, key: str) -> None:
        (self.root / key).unlink(missing_ok=True)

    @contextmanager
    def _temporary(self, key: str, data: Data) -> Iterator[Path]:
        """Write `data` beside `key`, and remove the file at the end if it still has its temporary name."""
        path = self.root / key
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise _refused(path, exc) from exc
        try:
            try:
                with temporary.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as exc:
                raise _refused(path, exc) from exc
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)


def _refused(path: Path, exc: OSError) -> InputError:
    return InputError(f"{path}: cannot be written: {exc.strerror}; allow it, or name another place")


def _entry(key: str, status: os.stat_result) -> Entry:
    return Entry(key, status.st_size, f"{status.st_size:x}-{status.st_mtime_ns:x}-{status.st_ino:x}")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
