"""What is in a torch .pt file, without reading tensor data and without running anything.

    zip (every entry stored):  data.pkl | byteorder | data/0 | data/1 | ...

`torch.load(weights_only=True, map_location="meta")` runs torch's restricted unpickler and gives shapes, strides and the
offset of each storage; those are checked against the zip's directory, and rows are then read from the file by offset.
Torch does so from 2.11 on. Not `mmap=True`: its private writable map counts as memory, so that Linux refuses a file
larger than the machine's memory.
"""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from encoder.errors import ShardError
from encoder.readers.arrays import MAX_DIMS, ON_DISK, Array, array_in_file

MAX_DIRECTORY_BYTES = 64 << 20
MAX_PICKLE_BYTES = 256 << 20
MAX_NODES = 50_000
MAX_DEPTH = 8
RESAVE = (
    "in a process that trusts it, load it and save only tensors: torch.save({name: tensor}, path),"
    " or safetensors.torch.save_file"
)
_HOLDERS = (torch.Tensor, dict, list, tuple)
# What torch's unpickler and its zip reader raise on bytes that they did not expect.
_UNREADABLE = (
    RuntimeError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError, MemoryError,
    OverflowError, ImportError, NameError,
)  # fmt: skip


def looks_like(head: bytes) -> bool:
    return head.startswith(b"PK\x03\x04") and b"/data.pkl" in head


def load(path: Path) -> Any:
    """Give the file's object with every tensor as an `Array`; scalars, strings and plain lists stay as they are."""
    storages = _storages(path)
    try:
        loaded = torch.load(path, map_location="meta", weights_only=True)
    except pickle.UnpicklingError as exc:
        raise ShardError(
            f"{path}: needs pickle, which can run code, so it is not loaded ({_first_line(exc)}); {RESAVE}"
        ) from exc
    except _UNREADABLE as exc:
        raise ShardError(f"{path}: torch cannot read it ({_first_line(exc)}): damaged; copy or write it again") from exc
    return _Converter(path, storages).convert(loaded, "", 0)


def _first_line(exc: BaseException) -> str:
    text = str(exc).strip()
    blocked = text.find("Unsupported global")
    return (text[blocked:] if blocked >= 0 else text or type(exc).__name__).splitlines()[0][:160]


def _storages(path: Path) -> dict[int, int]:
    """Map the file offset of each storage to its size, from the zip's directory."""
    storages = {}
    try:
        _check_directory_size(path)
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            for entry in archive.infolist():
                if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
                    raise ShardError(
                        f"{path}: {entry.filename[:80]!r} is compressed ({entry.compress_size} -> {entry.file_size}"
                        f" bytes); torch.save stores, so this file was made otherwise and is refused"
                    )
                file.seek(entry.header_offset + 26)
                names = file.read(4)
                begin = entry.header_offset + 30 + names[0] + names[1] * 256 + names[2] + names[3] * 256
                if begin + entry.file_size > archive.start_dir:
                    raise ShardError(f"{path}: {entry.filename[:80]!r} claims {entry.file_size} bytes, past the end")
                name = entry.filename.partition("/")[2]
                if name == "data.pkl" and entry.file_size > MAX_PICKLE_BYTES:
                    raise ShardError(f"{path}: data.pkl has {entry.file_size} bytes, the limit is {MAX_PICKLE_BYTES}")
                file.seek(begin)
                if name == "byteorder" and file.read(6) != b"little":
                    raise ShardError(f"{path}: written on a big-endian machine; load and save it on this one")
                if name.startswith("data/"):
                    storages[begin] = entry.file_size
    except (zipfile.BadZipFile, NotImplementedError, ValueError, IndexError, EOFError) as exc:
        raise ShardError(f"{path}: not a whole zip file ({exc}): truncated; copy or write it again") from exc
    return storages


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
    """Turns meta tensors into `Array`s. Counts what it visits: a pickle can name one object exponentially often."""

    def __init__(self, path: Path, storages: dict[int, int]) -> None:
        self.path = path
        self.storages = storages
        self.n_nodes = 0

    def convert(self, value: Any, name: str, depth: int) -> Any:
        self.n_nodes += 1
        if depth > MAX_DEPTH or self.n_nodes > MAX_NODES:
            raise ShardError(f"{self.path}: nested deeper than {MAX_DEPTH} or over {MAX_NODES} objects; refused")
        if isinstance(value, torch.Tensor):
            return self.array(value, name)
        if isinstance(value, dict):
            return {key: self.convert(item, f"{name}.{key}"[:80], depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple) and any(isinstance(item, _HOLDERS) for item in value):
            return [self.convert(item, f"{name}.{i}"[:80], depth + 1) for i, item in enumerate(value)]
        return value

    def array(self, tensor: torch.Tensor, name: str) -> Array | None:
        what = f"tensor {name.lstrip('.')!r}" if name else "the tensor"
        dtype = str(tensor.dtype).removeprefix("torch.")
        if tensor.layout is not torch.strided or tensor.is_quantized or dtype not in ON_DISK or tensor.ndim > MAX_DIMS:
            return None
        begin = getattr(tensor.untyped_storage(), "_checkpoint_offset", None)
        if not isinstance(begin, int) or begin not in self.storages:
            raise ShardError(
                f"{self.path}: {what} has no data in the file: a meta tensor, or damaged (or this torch,"
                f" {torch.__version__}, is older than 2.11 and does not say where data lies); write it again"
            )
        space = (begin, begin + self.storages[begin])
        skip = int(tensor.storage_offset())
        return array_in_file(self.path, space, list(tensor.shape), dtype, tensor.stride(), what=what, skip=skip)
