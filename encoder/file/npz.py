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
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from encoder.arrays import AnyArray
from encoder.errors import EncoderError

ALIGNMENT = 64
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_ENTRY = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_END64_LOCATOR_BYTES = 20
_ZIP64 = 0xFFFFFFFF
_ZIP64_EXTRA_BYTES = 20
_PADDING = struct.Struct("<3H")  # field id, bytes that follow, alignment
_PADDING_ID = 0xD935
_HEAD_BYTES = 1024
"""Enough for a local header and an npy header as written here; more is refused."""
_TAIL_BYTES = 1 << 14
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
    payload = file.tell() + _LOCAL_HEADER.size + len(info.filename) + _ZIP64_EXTRA_BYTES + _PADDING.size
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
    descriptor = file.fileno()
    size = os.fstat(descriptor).st_size
    found: dict[str, Member] = {}
    try:
        for name, offset, n_bytes in _entries(descriptor, size):
            if name in found:
                raise ValueError(f"it has two arrays {name!r}")
            if name in names:
                found[name] = _locate(descriptor, size, name, offset, n_bytes)
    except (ValueError, TypeError, struct.error) as exc:
        raise EncoderError(f"{path}: not a whole npz of sae-encode ({exc}); {mend}") from exc
    return found


def _entries(descriptor: int, size: int) -> Iterator[tuple[str, int, int]]:
    """Read the central directory: name, offset and payload bytes of each member. Raises ValueError or struct.error.

    Not by zipfile, which takes twice the time of all the rest and reads as large a directory as the file asks for.
    """
    tail_start = max(0, size - _TAIL_BYTES)
    tail = os.pread(descriptor, _TAIL_BYTES, tail_start)
    if len(tail) < _END.size or tail[-_END.size :][:4] != b"PK\x05\x06":
        raise ValueError(f"no zip directory at the end of its {size:,} bytes")
    count, n_bytes, start = _END.unpack_from(tail, len(tail) - _END.size)[4:7]
    if count == 0xFFFF or _ZIP64 in (n_bytes, start):
        end64 = _END64.unpack_from(tail, len(tail) - _END.size - _END64_LOCATOR_BYTES - _END64.size)
        if end64[0] != b"PK\x06\x06":
            raise ValueError("its zip64 directory is not where it should be")
        count, n_bytes, start = end64[7:10]
    at = start - tail_start
    if at < 0 or at + n_bytes > len(tail):
        raise ValueError(f"its zip directory would be {n_bytes:,} bytes at {start:,} of {size:,}")
    for _ in range(count):
        entry = _ENTRY.unpack_from(tail, at)
        signature, flags, method, compressed, length = entry[0], entry[3], entry[4], entry[8], entry[9]
        name_bytes, extra_bytes, comment_bytes, offset = entry[10], entry[11], entry[12], entry[16]
        at += _ENTRY.size
        name = tail[at : at + name_bytes].decode("ascii").removesuffix(".npy")
        if signature != b"PK\x01\x02" or flags & 1 or method != zipfile.ZIP_STORED or compressed != length:
            raise ValueError(f"{name!r} is compressed or encrypted, so it cannot be mapped")
        if _ZIP64 in (length, offset):
            values = _zip64_values(tail[at + name_bytes : at + name_bytes + extra_bytes])
            if length == _ZIP64:
                length, _, *values = values
            if offset == _ZIP64:
                (offset,) = values
        yield name, offset, length
        at += name_bytes + extra_bytes + comment_bytes


def _zip64_values(extra: bytes) -> list[int]:
    at = 0
    while True:
        field, n_bytes = struct.unpack_from("<2H", extra, at)
        if field == 1:
            return list(struct.unpack_from(f"<{n_bytes // 8}Q", extra, at + 4))
        at += 4 + n_bytes


def _locate(descriptor: int, size: int, name: str, start: int, n_bytes: int) -> Member:
    """Check the member's own headers and its place in the file. Raises ValueError or TypeError."""
    if start > size - _LOCAL_HEADER.size:
        raise ValueError(f"{name} would start at byte {start:,} of {size:,}")
    head = os.pread(descriptor, _HEAD_BYTES, start)
    signature, *_, name_bytes, extra_bytes = _LOCAL_HEADER.unpack_from(head)
    payload = _LOCAL_HEADER.size + name_bytes + extra_bytes
    header = _NPY.match(head, payload)
    if (
        signature != b"PK\x03\x04"
        or header is None
        or header.end() != payload + 10 + int.from_bytes(header[1], "little")
    ):
        raise ValueError(f"{name} has no plain npy header at byte {start:,}")
    dtype = np.dtype(header[2].decode())
    shape = tuple(int(n) for n in header[3].decode().split(",") if n.strip())
    header_bytes = header.end() - payload
    expected, got = math.prod(shape) * dtype.itemsize, n_bytes - header_bytes
    if expected != got or dtype.hasobject or not dtype.itemsize:
        raise ValueError(f"{name} says {dtype} {list(shape)}, {expected:,} bytes, but has {got:,}")
    if start + header.end() + expected > size:
        raise ValueError(f"{name} would end at byte {start + header.end() + expected:,} of {size:,}")
    return Member(start + header.end(), dtype, shape)
