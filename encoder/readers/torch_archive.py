"""What is in a torch .pt file, without reading tensor data and without running anything.

    zip (every entry stored):  data.pkl | byteorder | data/0 | data/1 | ...

`torch_pickle` tells the tensors from data.pkl; their storages are checked against the zip's directory, and rows are
then read from the file by offset. Not `torch.load(mmap=True)`: its private writable map counts as memory, so that Linux
refuses a file larger than the machine's memory; and its `weights_only` machine can be made to fill memory.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from encoder.errors import ShardError
from encoder.readers.arrays import MAX_DIMS, ON_DISK, Array, array_in_file
from encoder.readers.torch_pickle import Damaged, NeedsPickle, Other, StoredTensor, parse
from encoder.stores.object_path import pread
from saefetch.files.zip_directory import LOCAL_HEADER_BYTES, Entry, ZipError, read_directory

MAX_DIRECTORY_BYTES = 16 << 20  # some 200,000 storages
MAX_PICKLE_BYTES = 64 << 20
MAX_NODES = 300_000  # a capture with attention maps has one tensor for each token and layer
MAX_DEPTH = 8
RESAVE = (
    "in a process that trusts it, load it and save only tensors: torch.save({name: tensor}, path),"
    " or safetensors.torch.save_file"
)
_HOLDERS = (StoredTensor, Other, dict, list, tuple)


def looks_like(head: bytes) -> bool:
    return head.startswith(b"PK\x03\x04") and b"/data.pkl" in head


def load(path: Path, size: int, begin: int = 0) -> Any:
    """Give the object with every tensor as an `Array`; scalars, strings and plain lists stay as they are.

    What is read are the `size` bytes from `begin` on: the whole file, or a member of an archive.
    """
    with path.open("rb") as file:
        return _load(_Archive(path, file, size, begin))


def _load(archive: _Archive) -> Any:
    path = archive.path
    try:
        loaded = parse(archive.content("data.pkl"))
    except NeedsPickle as exc:
        raise ShardError(f"{path}: needs pickle, which can run code, so it is not loaded ({exc}); {RESAVE}") from exc
    except Damaged as exc:
        raise ShardError(f"{path}: its data.pkl is damaged ({exc}); copy or write the file again") from exc
    return Converter(path, lambda key: archive.space(f"data/{key}"), archive.is_swapped).convert(loaded, "", 0)


class _Archive:
    """The entries of one torch file by their name below the archive's own folder: "data.pkl", "data/0"."""

    def __init__(self, path: Path, file: BinaryIO, size: int, begin: int) -> None:
        self.path, self.file, self.begin = path, file, begin
        self.entries: dict[str, Entry] = {}
        try:
            for entry in read_directory(self.read, size, max_bytes=MAX_DIRECTORY_BYTES):
                name = entry.name.partition("/")[2]
                if not entry.is_stored:
                    raise ShardError(
                        f"{path}: {entry.name[:80]!r} is compressed ({entry.n_packed} -> {entry.n_bytes} bytes);"
                        f" torch.save stores, so this file was made otherwise and is refused"
                    )
                if name in self.entries:
                    raise ShardError(f"{path}: two entries are called {entry.name[:80]!r}; refused")
                self.entries[name] = entry
        except ZipError as exc:
            raise ShardError(f"{path}: not a whole zip file ({exc}): truncated; copy or write it again") from exc
        byteorder = self.content("byteorder", b"little")
        if byteorder not in (b"little", b"big"):
            raise ShardError(f"{path}: byteorder is {byteorder[:40]!r}, expected little or big; copy the file again")
        self.is_swapped = byteorder == b"big"

    def read(self, offset: int, n_bytes: int) -> bytes:
        return pread(self.file, n_bytes, self.begin + offset)

    def space(self, name: str) -> tuple[int, int] | None:
        """Return the entry's bytes [begin, end) in the file; None if there is no such entry."""
        entry = self.entries.get(name)
        if entry is None:
            return None
        try:
            begin = entry.payload(self.read(entry.header, LOCAL_HEADER_BYTES))
        except ZipError as exc:
            raise ShardError(f"{self.path}: {exc}: truncated, or a false header; copy or write it again") from exc
        return self.begin + begin, self.begin + begin + entry.n_bytes

    def content(self, name: str, missing: bytes = b"") -> bytes:
        """Read a small entry whole."""
        begin, end = self.space(name) or (0, -1)
        if end - begin > MAX_PICKLE_BYTES:
            raise ShardError(f"{self.path}: {name} has {end - begin} bytes, the limit is {MAX_PICKLE_BYTES}")
        return missing if end < 0 else self.read(begin - self.begin, end - begin)


class Converter:
    """Turns stored tensors into `Array`s. Counts what it visits: a pickle can name one object exponentially often.

    `space` gives the bytes [begin, end) of the storage that has a key; `is_swapped` says that they are big-endian.
    """

    def __init__(self, path: Path, space: Callable[[str], tuple[int, int] | None], is_swapped: bool) -> None:
        self.path, self.space, self.is_swapped = path, space, is_swapped
        self.n_nodes = 0

    def convert(self, value: Any, name: str, depth: int) -> Any:
        self.n_nodes += 1
        if depth > MAX_DEPTH or self.n_nodes > MAX_NODES:
            raise ShardError(f"{self.path}: nested deeper than {MAX_DEPTH} or over {MAX_NODES:,} objects; refused")
        if isinstance(value, StoredTensor):
            return self.array(value, name)
        if isinstance(value, dict):
            return {key: self.convert(item, f"{name}.{key}"[:80], depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple) and any(isinstance(item, _HOLDERS) for item in value):
            return [self.convert(item, f"{name}.{i}"[:80], depth + 1) for i, item in enumerate(value)]
        return None if isinstance(value, Other) else value

    def array(self, tensor: StoredTensor, name: str) -> Array | None:
        what = f"tensor {name.lstrip('.')!r}" if name else "the tensor"
        size, stride, skip = tensor.size, tensor.stride, tensor.offset
        integers = isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride)
        if not integers or any(type(n) is not int for n in (*size, *stride, skip)):
            raise ShardError(f"{self.path}: {what} has no sizes and strides; damaged, copy or write the file again")
        if tensor.dtype not in ON_DISK or len(size) > MAX_DIMS:
            return None
        space = self.space(tensor.storage.key)
        if space is None:
            raise ShardError(f"{self.path}: {what} has no data in the file; damaged, copy or write it again")
        swapped = self.is_swapped
        return array_in_file(self.path, space, size, tensor.dtype, stride, what=what, skip=skip, swapped=swapped)
