"""Read a large npz as np.savez leaves it: each array with one read into its own memory, several at a time.

np.load reads such a file through `zipfile`, a quarter of a megabyte at a time: three times as long for the 300 MB of an
SAE. The checksums are compared here as well.
"""

from __future__ import annotations

import io
import os
import tokenize
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from isal import isal_zlib

from encoder.arrays import AnyArray
from saefetch.files.zip_directory import LOCAL_HEADER_BYTES, Entry, ZipError, read_directory

_MAX_DIRECTORY_BYTES = 1 << 20
_HEADER_BYTES = 16_384
_THREADS = 2


class _OtherwiseError(Exception):
    """The file is not of this kind, or damaged."""


def stored_arrays(path: Path) -> dict[str, AnyArray] | None:
    """Return the arrays by name; None where the file is anything else, and np.load has to read or to refuse it."""
    try:
        with path.open("rb") as file:
            n_bytes = path.stat().st_size
            entries = list(read_directory(lambda at, n: _read(file, at, n), n_bytes, max_bytes=_MAX_DIRECTORY_BYTES))
            names = [entry.name.removesuffix(".npy") for entry in entries]
            if len({*names}) < len(names) or not all(entry.name.endswith(".npy") for entry in entries):
                raise _OtherwiseError
            # Headers one after another: numpy parses them as Python, which CPython 3.11 cannot in two threads at once.
            places = [_Place.of(file, entry) for entry in entries]
            with ThreadPoolExecutor(_THREADS) as threads:
                arrays = list(threads.map(lambda place: place.read(file), places))
    except (_OtherwiseError, ZipError, OSError, ValueError, TypeError, SyntaxError, tokenize.TokenError, SystemError):
        return None
    return dict(zip(names, arrays, strict=True))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an array's numbers begin, what they are, and the checksum of all: of the header the part until here."""

    begin: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    crc: int
    crc_of_header: int

    @classmethod
    def of(cls, file: BinaryIO, entry: Entry) -> _Place:
        if not entry.is_stored:
            raise _OtherwiseError
        begin = entry.payload(_read(file, entry.header, LOCAL_HEADER_BYTES))
        head = io.BytesIO(_read(file, begin, min(_HEADER_BYTES, entry.n_bytes)))
        version = np.lib.format.read_magic(head)
        if version not in ((1, 0), (2, 0)):
            raise _OtherwiseError
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = read_header(head)
        if is_fortran or dtype.hasobject:
            raise _OtherwiseError
        n_header = head.tell()
        if n_header + int(np.prod(shape, dtype=object)) * dtype.itemsize != entry.n_bytes:
            raise _OtherwiseError
        return cls(begin + n_header, shape, dtype, entry.crc, isal_zlib.crc32(head.getvalue()[:n_header]))

    def read(self, file: BinaryIO) -> AnyArray:
        array: AnyArray = np.empty(self.shape, self.dtype)
        out = array.reshape(-1).view(np.uint8).data
        done = 0
        while done < len(out):
            n_read = os.preadv(file.fileno(), [out[done:]], self.begin + done)
            if not n_read:
                raise _OtherwiseError
            done += n_read
        if isal_zlib.crc32(out, self.crc_of_header) != self.crc:
            raise _OtherwiseError
        return array


def _read(file: BinaryIO, at: int, n_bytes: int) -> bytes:
    return os.pread(file.fileno(), n_bytes, at)
