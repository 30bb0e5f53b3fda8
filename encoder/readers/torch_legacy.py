"""What is in a torch file of the format before zip: torch before 1.6, or `_use_new_zipfile_serialization=False`.

    pickle: a magic number | pickle: 1001 | pickle: {"little_endian", ...} | pickle: the object | pickle: [key, ...]
    | u64 n | n elements of the first key's storage | u64 n | n elements of the second's | ...

The pickles are read as `torch_pickle` reads them: nothing is imported or called. A storage's bytes are n times the size
of its type's elements, and the storages fill the file to its end.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

from encoder.errors import ShardError
from encoder.readers.arrays import ON_DISK
from encoder.readers.torch_archive import MAX_PICKLE_BYTES, RESAVE, Converter
from encoder.readers.torch_pickle import STORAGES, Damaged, NeedsPickle, parse_next

MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_PROTOCOL = 1001
_OTHER_ITEM_BYTES = {"ComplexFloatStorage": 8, "ComplexDoubleStorage": 16, "QInt8Storage": 1, "QUInt8Storage": 1,
                     "QInt32Storage": 4, "UntypedStorage": 1}  # fmt: skip
"""Element sizes of the storages that hold no activations, and have to be stepped over."""


def looks_like(head: bytes) -> bool:
    return head.startswith(MAGIC)


def load(path: Path, size: int, begin: int = 0) -> Any:
    """Give the object with every tensor as an `Array`; scalars, strings and plain lists stay as they are.

    What is read are the `size` bytes from `begin` on: the whole file, or a member of an archive.
    """
    with path.open("rb") as file:
        file.seek(begin)
        stream = _Limited(file)
        try:
            stream.read(len(MAGIC))
            protocol, _ = parse_next(stream)
            machine, _ = parse_next(stream)
            if protocol != _PROTOCOL or not isinstance(machine, dict):
                raise Damaged(f"protocol {str(protocol)[:40]}, expected {_PROTOCOL}")
            loaded, types = parse_next(stream)
            keys, _ = parse_next(stream)
        except NeedsPickle as exc:
            raise ShardError(
                f"{path}: needs pickle, which can run code, so it is not loaded ({exc}); {RESAVE}"
            ) from exc
        except Damaged as exc:
            raise ShardError(
                f"{path}: a torch file of before 1.6 that is damaged ({exc}); copy it again, or {RESAVE}"
            ) from exc
        spaces = _spaces(path, file, begin + size, keys, types)
    return Converter(path, spaces.get, machine.get("little_endian") is False).convert(loaded, "", 0)


def _spaces(path: Path, file: BinaryIO, stop: int, keys: Any, types: dict[str, str]) -> dict[str, tuple[int, int]]:
    """Return the bytes [begin, end) of each storage. Raises: ShardError if they do not end at `stop`."""
    if not isinstance(keys, list) or set(map(str, keys)) != types.keys() or len(keys) != len(types):
        raise ShardError(f"{path}: its list of storages is not that of its tensors; copy or write the file again")
    spaces, at = {}, file.tell()
    for key in keys:
        file.seek(at)
        n_items, item_bytes = int.from_bytes(file.read(8), "little"), _item_bytes(path, types[key])
        begin, at = at + 8, at + 8 + n_items * item_bytes
        if at > stop:
            raise ShardError(f"{path}: a storage ends at byte {at}, but the file has {stop}: truncated; copy it again")
        spaces[key] = (begin, at)
    if at != stop:
        raise ShardError(f"{path}: its storages end at byte {at}, but the file has {stop}: two files in one?")
    return spaces


def _item_bytes(path: Path, name: str) -> int:
    if name in STORAGES:
        return ON_DISK[STORAGES[name]].itemsize
    if name not in _OTHER_ITEM_BYTES:
        raise ShardError(f"{path}: holds a {name[:60] or 'storage of two types'}, which is not known; {RESAVE}")
    return _OTHER_ITEM_BYTES[name]


class _Limited:
    """The file as a stream of pickles: no more is read of it than pickles of tensors have."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._left = file, MAX_PICKLE_BYTES

    def read(self, n_bytes: int) -> bytes:
        return self._taken(self._file.read(min(n_bytes, self._left + 1)))

    def readline(self) -> bytes:
        return self._taken(self._file.readline(self._left + 1))

    def _taken(self, read: bytes) -> bytes:
        self._left -= len(read)
        if self._left < 0:
            raise Damaged(f"pickles of over {MAX_PICKLE_BYTES:,} bytes")
        return read
