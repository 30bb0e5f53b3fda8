"""What is in a torch .pt file, without reading tensor data and without running anything.

    zip (every entry stored):  data.pkl | byteorder | data/0 | data/1 | ...

`torch_pickle` tells the tensors from data.pkl; their storages are checked against the zip's directory, and rows are
then read from the file by offset. Not `torch.load(mmap=True)`: its private writable map counts as memory, so that Linux
refuses a file larger than the machine's memory; and its `weights_only` machine can be made to fill memory.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from encoder.errors import ShardError
from encoder.readers.arrays import MAX_DIMS, ON_DISK, Array, array_in_file
from encoder.readers.torch_pickle import Damaged, NeedsPickle, Other, StoredTensor, parse

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


def load(path: Path) -> Any:
    """Give the file's object with every tensor as an `Array`; scalars, strings and plain lists stay as they are."""
    entries = _entries(path)
    begin, end = entries.get("data.pkl", (0, 0))
    with path.open("rb") as file:
        file.seek(begin)
        pickled = file.read(end - begin)
    try:
        loaded = parse(pickled)
    except NeedsPickle as exc:
        raise ShardError(f"{path}: needs pickle, which can run code, so it is not loaded ({exc}); {RESAVE}") from exc
    except Damaged as exc:
        raise ShardError(f"{path}: its data.pkl is damaged ({exc}); copy or write the file again") from exc
    return _Converter(path, entries).convert(loaded, "", 0)


def _entries(path: Path) -> dict[str, tuple[int, int]]:
    """Map the names of the zip's entries to their bytes [begin, end) in the file."""
    entries: dict[str, tuple[int, int]] = {}
    try:
        _check_directory_size(path)
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            for entry in archive.infolist():
                name = entry.filename.partition("/")[2]
                if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
                    raise ShardError(
                        f"{path}: {entry.filename[:80]!r} is compressed ({entry.compress_size} -> {entry.file_size}"
                        f" bytes); torch.save stores, so this file was made otherwise and is refused"
                    )
                file.seek(entry.header_offset + 26)
                lengths = file.read(4)
                begin = entry.header_offset + 30 + lengths[0] + lengths[1] * 256 + lengths[2] + lengths[3] * 256
                if begin + entry.file_size > archive.start_dir:
                    raise ShardError(f"{path}: {entry.filename[:80]!r} claims {entry.file_size} bytes, past the end")
                if name == "data.pkl" and entry.file_size > MAX_PICKLE_BYTES:
                    raise ShardError(f"{path}: data.pkl has {entry.file_size} bytes, the limit is {MAX_PICKLE_BYTES}")
                if name in entries:
                    raise ShardError(f"{path}: two entries are called {entry.filename[:80]!r}; refused")
                file.seek(begin)
                if name == "byteorder" and file.read(6) != b"little":
                    raise ShardError(f"{path}: written on a big-endian machine; load and save it on this one")
                entries[name] = begin, begin + entry.file_size
    except (zipfile.BadZipFile, NotImplementedError, ValueError, IndexError, EOFError) as exc:
        raise ShardError(f"{path}: not a whole zip file ({exc}): truncated; copy or write it again") from exc
    return entries


def _check_directory_size(path: Path) -> None:
    """Refuse a directory that zipfile would read into memory whole at the file's word."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 65_557))
        tail = file.read()
        end = tail.rfind(b"PK\x05\x06")
        n_bytes = int.from_bytes(tail[end + 12 : end + 16], "little") if end >= 0 else 0
        if n_bytes == 0xFFFFFFFF:
            file.seek(int.from_bytes(tail[max(0, end - 12) : max(0, end - 4)], "little") % (size + 1) + 40)
            n_bytes = int.from_bytes(file.read(8), "little")
    if n_bytes > min(size, MAX_DIRECTORY_BYTES):
        raise ShardError(f"{path}: the zip directory claims {n_bytes} of the file's {size} bytes; refused")


class _Converter:
    """Turns stored tensors into `Array`s. Counts what it visits: a pickle can name one object exponentially often."""

    def __init__(self, path: Path, entries: dict[str, tuple[int, int]]) -> None:
        self.path = path
        self.entries = entries
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
        space = self.entries.get(f"data/{tensor.storage.key}")
        if space is None:
            raise ShardError(f"{self.path}: {what} has no data in the file; damaged, copy or write it again")
        return array_in_file(self.path, space, size, tensor.dtype, stride, what=what, skip=skip)
