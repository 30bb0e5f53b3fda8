"""numpy .npz: names -> arrays, in a zip of npy files (np.savez, np.savez_compressed).

    local header | layer_12.npy | local header | layer_16.npy | ... | directory

A stored array is read from the file by offset, as an .npy is. A compressed array is unpacked from its beginning while
its rows are read in order: memory is bounded by the rows asked for, whatever the array's size, and a jump back begins
again. The checksum is compared where the array ends. The features files of sae-encode are npz files as well, and are
told from activations by their names.
"""

from __future__ import annotations

import threading
import zlib
from pathlib import Path
from typing import IO

from encoder.errors import ShardError
from encoder.readers.arrays import Array, c_strides
from encoder.readers.forward import SAVE_STORED, ForwardArray
from encoder.readers.numpy_header import Header, Readable, read_header, whole_array
from encoder.stores.object_path import pread
from saefetch.files.zip_directory import DEFLATED, LOCAL_HEADER_BYTES, Entry, ReadAt, ZipError, read_directory

SPARSE_NAMES = {"indptr", "indices", "data", "shape"}
"""What scipy's sparse matrices, and so our own features files, call their arrays."""
_MAX_DIRECTORY_BYTES = 16 << 20
_MOST_BY_DEFLATE = 1040  # no byte of deflate unpacks to more: 1,032, and a little for the stream's end
_PIECE_BYTES = 1 << 18


def looks_like(head: bytes) -> bool:
    """Whether these first bytes are those of a zip whose first entry is an npy file."""
    n_name = int.from_bytes(head[26:28], "little")
    return head.startswith(b"PK\x03\x04") and head[30 : 30 + n_name].endswith(b".npy")


def is_sparse(path: Path) -> bool:
    """Whether the file is a sparse matrix, such as a features file of ours; a damaged file is none."""
    try:
        with path.open("rb") as file:
            return _entries(path, _reader(file), path.stat().st_size).keys() >= SPARSE_NAMES
    except (OSError, ShardError):
        return False


def load(path: Path, size: int, begin: int = 0) -> dict[str, Array]:
    """Give the arrays by their names; arrays of another dtype than those that can be read are left out.

    What is read are the `size` bytes from `begin` on: the whole file, or a member of an archive. Raises: ShardError if
    it is cut or lies about itself, or holds nothing that can be read.
    """
    with path.open("rb") as file:
        entries = _entries(path, _reader(file, begin), size)
        if entries.keys() >= SPARSE_NAMES:
            raise ShardError(f"{path}: a sparse matrix, as sae-encode writes features, and not activations")
        arrays: dict[str, Array] = {}
        refused: ShardError | None = None
        for name, entry in entries.items():
            try:
                arrays[name] = _array(path, file, begin, name, entry)
            except _UnreadError as exc:
                refused = refused or exc
    if refused and not arrays:
        raise ShardError(str(refused)) from refused
    return arrays


class _UnreadError(ShardError):
    """This array cannot be read, and the others may be."""


def _entries(path: Path, read: ReadAt, size: int) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    try:
        for entry in read_directory(read, size, max_bytes=_MAX_DIRECTORY_BYTES):
            name = entry.name.removesuffix(".npy")
            if name == entry.name:
                continue  # no array
            if name in found:
                raise ShardError(f"{path}: two arrays are called {name[:80]!r}; refused")
            found[name] = entry
    except ZipError as exc:
        raise ShardError(f"{path}: not a whole npz ({exc}): truncated; copy or write it again") from exc
    return found


def _array(path: Path, file: IO[bytes], window: int, name: str, entry: Entry) -> Array:
    what = f"the array {name[:80]!r}"
    try:
        begin = window + entry.payload(_reader(file, window)(entry.header, LOCAL_HEADER_BYTES))
    except ZipError as exc:
        raise ShardError(f"{path}: {exc}: truncated, or a false header; copy or write it again") from exc
    if entry.is_stored:
        file.seek(begin)
        stored = _header(path, file, entry.n_bytes)
        return whole_array(path, stored, (begin + stored.n_bytes, begin + entry.n_bytes), what)
    if entry.method != DEFLATED:
        raise _UnreadError(f"{path}: {what} is compressed by method {entry.method}; save it again with np.savez")
    if entry.n_bytes > _MOST_BY_DEFLATE * (entry.n_packed + 1):
        raise ShardError(
            f"{path}: {what} claims to unpack from {entry.n_packed:,} to {entry.n_bytes:,} bytes, which deflate cannot"
        )
    stream = _Stream(path, what, begin, entry)
    header = _header(path, stream, entry.n_bytes)
    if header.strides != c_strides(header.shape):
        raise _UnreadError(f"{path}: {what}: {SAVE_STORED}")
    whole = whole_array(path, header, (header.n_bytes, entry.n_bytes), what)
    return ForwardArray(
        path, whole.offset, whole.shape, whole.strides, whole.dtype, swapped=whole.swapped, stream=stream
    )


def _header(path: Path, npy: Readable, n_bytes: int) -> Header:
    try:
        return read_header(path, npy, n_bytes)
    except _DamagedError:
        raise
    except ShardError as exc:
        raise _UnreadError(str(exc)) from exc


class _DamagedError(ShardError):
    """The compressed bytes are not what the directory says."""


class _Stream:
    """The unpacked bytes of one entry, forwards. Several arrays may be views of it, in several threads."""

    def __init__(self, path: Path, what: str, begin: int, entry: Entry) -> None:
        self._path, self.what, self._begin, self._entry = path, what, begin, entry
        self._lock = threading.Lock()
        self._rewind()

    def _rewind(self) -> None:
        self._unpack = zlib.decompressobj(-zlib.MAX_WBITS)
        self._n_taken = self._at = self._crc = 0

    def read(self, n_bytes: int) -> bytes:
        """Read on, as from a file: at most so many bytes, fewer at the end."""
        out = bytearray(min(n_bytes, self._entry.n_bytes - self._at))
        with self._lock:
            self._fill(memoryview(out))
        return bytes(out)

    def read_at(self, offset: int, out: memoryview) -> None:
        """Fill `out` with the bytes from `offset` on. Raises: ShardError where they are damaged or end early."""
        with self._lock:
            if offset < self._at:
                self._rewind()
            while self._at < offset:
                self._next(min(_PIECE_BYTES, offset - self._at))
            self._fill(out)

    def _fill(self, out: memoryview) -> None:
        done = 0
        while done < len(out):
            piece = self._next(len(out) - done)
            out[done : done + len(piece)] = piece
            done += len(piece)

    def _next(self, limit: int) -> bytes:
        """Unpack at least one byte, and at most `limit`; the checksum is compared with the last one."""
        while True:
            packed = self._unpack.unconsumed_tail or self._packed()
            try:
                piece = self._unpack.decompress(packed, min(limit, _PIECE_BYTES))
            except zlib.error as exc:
                raise self._damaged(str(exc)) from exc
            if piece:
                break
            if self._unpack.eof or not packed:
                raise self._damaged(f"it ends after {self._at:,} bytes, expected {self._entry.n_bytes:,}")
        self._at += len(piece)
        self._crc = zlib.crc32(piece, self._crc)
        if self._at == self._entry.n_bytes and self._crc != self._entry.crc:
            raise self._damaged("its checksum is wrong")
        return piece

    def _packed(self) -> bytes:
        n_bytes = min(_PIECE_BYTES, self._entry.n_packed - self._n_taken)
        with self._path.open("rb") as file:
            packed = pread(file, n_bytes, self._begin + self._n_taken)
        self._n_taken += len(packed)
        return packed

    def _damaged(self, why: str) -> _DamagedError:
        return _DamagedError(f"{self._path}: {self.what} is damaged: {why}; copy or write the file again")


def _reader(file: IO[bytes], begin: int = 0) -> ReadAt:
    return lambda offset, n_bytes: pread(file, n_bytes, begin + offset)
