"""An uncompressed npz whose arrays can be memory-mapped: how one is written, and how its arrays are found again.

    local header | name | zip64 extra | padding extra | npy header | array | ...next member... | central directory
    ^ any offset                                      ^ multiple of 64
                                                                   ^ multiple of 64

It is an ordinary zip of ordinary npy files, so numpy and scipy read it. The padding is an extra field of the kind that
Android's zipalign uses. Every local header has the zip64 field, whatever the size: one way to write, always exercised.
The bytes depend on nothing but names, order and arrays: no time, no owner, no compression.

Reading trusts nothing: only stored members in the npy form that numpy itself writes, and every offset and size is
checked against the file before anything is mapped or allocated.
"""

from __future__ import annotations

import math
import os
import re
import struct
import zipfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from encoder.arrays import AnyArray
from encoder.errors import EncoderError
from encoder.stores.object_path import pread
from saefetch.files.zip_directory import LOCAL_HEADER_BYTES, Entry, read_directory

ALIGNMENT = 64
_ZIP64_EXTRA_BYTES = 20
_PADDING = struct.Struct("<3H")  # field id, bytes that follow, alignment
_PADDING_ID = 0xD935
_HEAD_BYTES = 1024
"""Enough for a local header and an npy header as written here; more is refused."""
_MAX_DIRECTORY_BYTES = 1 << 14
"""Enough for the directory of a dozen members; more is refused."""
_NPY = re.compile(
    rb"\x93NUMPY\x01\x00(..)\{'descr': '([<|][a-zA-Z]\d{1,6})', 'fortran_order': False, "
    rb"'shape': \(((?:\d{1,19}(?:, \d{1,19})*,?)?)\), \} *\n",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Member:
    """Where an array lies in the file: `offset` of its first byte; it is known to end before the file does."""

    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def of(self, buffer: Any) -> AnyArray:
        """View the array in `buffer`, the whole file's bytes or a map of them."""
        flat: AnyArray = np.frombuffer(buffer, self.dtype, math.prod(self.shape), self.offset)
        return np.require(flat.reshape(self.shape), requirements="A")


def write_member(
    archive: zipfile.ZipFile, file: BinaryIO, name: str, dtype: str, shape: tuple[int, ...], parts: Iterable[Any]
) -> None:
    """Add the array `name`, whose bytes come in `parts`, to an `archive` that writes to `file`."""
    info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
    info.create_system, info.external_attr = 3, 0o644 << 16
    payload = file.tell() + LOCAL_HEADER_BYTES + len(info.filename) + _ZIP64_EXTRA_BYTES + _PADDING.size
    padding = -payload % ALIGNMENT
    info.extra = _PADDING.pack(_PADDING_ID, 2 + padding, ALIGNMENT) + bytes(padding)
    with archive.open(info, "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, {"descr": dtype, "fortran_order": False, "shape": shape})
        for part in parts:
            member.write(part)


def find_members(
    path: Path, file: BinaryIO, names: Collection[str], mend: str = "encode its shard again"
) -> dict[str, Member]:
    """Find those of the arrays `names` that the npz has.

    Raises: EncoderError if the file is not such an npz, or is cut short; `mend` says what to do then.
    """
    size = file.seek(0, os.SEEK_END)

    def read(offset: int, n_bytes: int) -> bytes:
        return pread(file, n_bytes, offset)

    found: dict[str, Member] = {}
    try:
        for entry in read_directory(read, size, max_bytes=_MAX_DIRECTORY_BYTES):
            name = entry.name.removesuffix(".npy")
            if not entry.is_stored:
                raise ValueError(f"{name!r} is compressed, so it cannot be mapped")
            if name in found:
                raise ValueError(f"it has two arrays {name!r}")
            if name in names:
                found[name] = _locate(read(entry.header, _HEAD_BYTES), entry, name)
    except (ValueError, TypeError) as exc:
        raise EncoderError(f"{path}: not a whole npz of sae-encode ({exc}); {mend}") from exc
    return found


def _locate(head: bytes, entry: Entry, name: str) -> Member:
    """Check the member's own headers, which `head` begins with. Raises: ValueError or TypeError."""
    payload = entry.payload(head)
    at = payload - entry.header
    header = _NPY.match(head, at)
    if header is None or header.end() != at + 10 + int.from_bytes(header[1], "little"):
        raise ValueError(f"{name} has no plain npy header at byte {payload:,}")
    dtype = np.dtype(header[2].decode())
    shape = tuple(int(n) for n in header[3].decode().split(",") if n.strip())
    expected, got = math.prod(shape) * dtype.itemsize, entry.n_bytes - (header.end() - at)
    if expected != got or dtype.hasobject or not dtype.itemsize:
        raise ValueError(f"{name} says {dtype} {list(shape)}, {expected:,} bytes, but has {got:,}")
    return Member(entry.header + header.end(), dtype, shape)
