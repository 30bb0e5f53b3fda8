"""The directory of a zip file: which entries there are and where their bytes lie. No entry's bytes are read here.

    local header | payload | ...next entry... | directory: one record an entry | zip64 end, locator | end | comment
    ^ Entry.header                            ^ Entry.limit

Everything is read through `read(offset, n)`, which gives at most n bytes, so a file and an object in a store are alike.
Nothing that the file says is believed: the directory's size is compared with the file and with the caller's limit
before it is read, and each entry must end before the directory begins. The standard library's `zipfile` reads as large
a directory as the file asks for, and takes twice the time.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

ReadAt = Callable[[int, int], bytes]

STORED, DEFLATED = 0, 8
LOCAL_HEADER_BYTES = 30
_RECORD = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LARGE, _MANY = 0xFFFFFFFF, 0xFFFF  # values that stand for "the zip64 records say it"
_ENCRYPTED, _UTF8 = 1 << 0, 1 << 11
_ZIP64_FIELD = 1
_FIRST_TAIL_BYTES = 1 << 14  # enough for the directory of some 200 entries: one read for most files
_LONGEST_TAIL_BYTES = _END64_LOCATOR.size + _END.size + 0xFFFF


class ZipError(ValueError):
    """The file is not a whole zip file, or lies about itself. The message does not name the file."""


class Entry(NamedTuple):
    """One entry, as the directory has it. `n_packed` are its bytes in the file, `n_bytes` those that it unpacks to."""

    name: str
    method: int
    header: int  # the offset of its local header
    n_packed: int
    n_bytes: int
    crc: int  # CRC-32 of the unpacked bytes
    limit: int  # where the directory begins: the payload ends before that

    @property
    def is_stored(self) -> bool:
        """Whether the payload is the entry's bytes as they are."""
        return self.method == STORED and self.n_packed == self.n_bytes

    def payload(self, local_header: bytes) -> int:
        """Return the offset of the payload's first byte; `local_header` are the file's bytes from `header` on.

        Raises: ZipError if there is no local header, or the payload would reach into the directory.
        """
        if len(local_header) < LOCAL_HEADER_BYTES or local_header[:4] != b"PK\x03\x04":
            raise ZipError(f"there is no entry {self.name[:80]!r} at byte {self.header:,}")
        n_name, n_extra = struct.unpack_from("<2H", local_header, LOCAL_HEADER_BYTES - 4)
        begin = self.header + LOCAL_HEADER_BYTES + int(n_name) + int(n_extra)
        if begin + self.n_packed > self.limit:
            raise self.past_the_end()
        return begin

    def past_the_end(self) -> ZipError:
        end = self.header + LOCAL_HEADER_BYTES + self.n_packed
        return ZipError(f"{self.name[:80]!r} would end at byte {end:,}, where the directory begins at {self.limit:,}")


def read_directory(read: ReadAt, size: int, *, max_bytes: int) -> Iterator[Entry]:
    """Yield the entries of a zip file of `size` bytes, in the directory's order.

    Raises: ZipError if the file is no whole zip file, or its directory has more than `max_bytes`.
    """
    tail_at = max(0, size - _FIRST_TAIL_BYTES)
    tail = read(tail_at, size - tail_at)
    end_at = len(tail) - _END.size
    if end_at < 0 or tail[end_at : end_at + 4] != b"PK\x05\x06":  # a comment follows, or this is no zip file
        tail_at = max(0, size - _LONGEST_TAIL_BYTES)
        tail = read(tail_at, size - tail_at)
        end_at = tail.rfind(b"PK\x05\x06", 0, max(0, len(tail) - _END.size + 4))
        if end_at < 0:
            raise ZipError(f"there is no zip directory at the end of its {size:,} bytes")
    n_entries, n_bytes, start = _end(read, size, tail, tail_at, end_at)
    if n_bytes > max_bytes or start + n_bytes > tail_at + end_at:
        raise ZipError(
            f"the zip directory claims {n_bytes} bytes at {start:,} of {size:,}, and {max_bytes:,} at most are read"
        )
    within = start - tail_at
    directory = tail[within : within + n_bytes] if within >= 0 else read(start, n_bytes)
    return _entries(directory, n_entries, start)


def _end(read: ReadAt, size: int, tail: bytes, tail_at: int, end_at: int) -> tuple[int, int, int]:
    """Return how many entries there are, and the directory's bytes and offset, as the end records say."""
    *_, n_entries, n_bytes, start, _ = _END.unpack_from(tail, end_at)
    if n_entries != _MANY and _LARGE not in (n_bytes, start):
        return int(n_entries), int(n_bytes), int(start)
    locator_at = end_at - _END64_LOCATOR.size
    if locator_at < 0 or tail[locator_at : locator_at + 4] != b"PK\x06\x07":
        return int(n_entries), int(n_bytes), int(start)
    at = _END64_LOCATOR.unpack_from(tail, locator_at)[2]
    end64 = read(at, _END64.size) if at + _END64.size <= size else b""
    if len(end64) < _END64.size or end64[:4] != b"PK\x06\x06":
        raise ZipError("its zip64 directory is not where it should be")
    n_entries, n_bytes, start = _END64.unpack(end64)[7:]
    return int(n_entries), int(n_bytes), int(start)


def _entries(directory: bytes, n_entries: int, start: int) -> Iterator[Entry]:
    at = 0
    for number in range(n_entries):
        if at + _RECORD.size > len(directory) or directory[at : at + 4] != b"PK\x01\x02":
            raise ZipError(f"its directory says {n_entries:,} entries and ends after {number:,}")
        record = _RECORD.unpack_from(directory, at)
        flags, method, crc, n_packed, n_bytes, header = record[3], record[4], *record[7:10], record[16]
        name_at = at + _RECORD.size
        extra_at = name_at + record[10]
        at = extra_at + record[11] + record[12]
        raw = directory[name_at:extra_at]
        try:
            name = raw.decode("utf-8" if flags & _UTF8 else "cp437")
        except UnicodeDecodeError as exc:
            raise ZipError(f"the name of entry {number:,} is not UTF-8") from exc
        if at > len(directory) or "\0" in name or flags & _ENCRYPTED:
            raise ZipError(f"entry {number:,}, {name[:80]!r}, is cut off, encrypted, or has a NUL in its name")
        if _LARGE in (n_packed, n_bytes, header):
            large = _zip64_values(directory[extra_at : extra_at + record[11]])
            n_bytes = next(large) if n_bytes == _LARGE else n_bytes
            n_packed = next(large) if n_packed == _LARGE else n_packed
            header = next(large) if header == _LARGE else header
        entry = Entry(name, method, header, n_packed, n_bytes, crc, start)
        if header + LOCAL_HEADER_BYTES + len(raw) + n_packed > start:
            raise entry.past_the_end()
        yield entry
    if at != len(directory):
        raise ZipError(f"its directory says {n_entries:,} entries and goes on after them")


def _zip64_values(extra: bytes) -> Iterator[int]:
    """Yield the 64-bit numbers of an entry's zip64 field, in the format's order. Raises: ZipError after the last."""
    at = 0
    while at + 4 <= len(extra):
        field, n_bytes = struct.unpack_from("<2H", extra, at)
        if field == _ZIP64_FIELD:
            whole = extra[at + 4 : at + 4 + n_bytes // 8 * 8]
            yield from (number for (number,) in struct.iter_unpack("<Q", whole[: len(whole) // 8 * 8]))
            break
        at += 4 + n_bytes
    raise ZipError("an entry of over 4 GiB has no zip64 field that says how large it is")
