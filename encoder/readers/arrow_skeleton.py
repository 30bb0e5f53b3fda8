"""An Arrow stream at an address without its numbers: enough to find where they are.

    object     schema | metadata | offsets, ids .... values ......... | metadata | offsets ... values ... | end mark
    skeleton   schema | metadata | offsets, ids .... (holes) ........ | metadata | offsets ... (holes)    | end mark

It is a nameless file in scratch, as long as the object, that takes only the room of what is written to it, so all that
is done with a map of a whole file works on it. The values of matrices are holes: they are read of the object, by
ranges, at the places that the skeleton tells.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import Any

from encoder.stores.object_path import ObjectPath

MAX_MESSAGES = 24
"""A stream of more messages is brought whole: each costs a request, and lies near the next."""
_MAX_METADATA_BYTES = 64 << 20
_CONTINUATION = b"\xff\xff\xff\xff"


def is_by_ranges(path: ObjectPath) -> bool:
    """Say whether the stream has few enough messages."""
    return len(_messages(path)) <= MAX_MESSAGES


class Skeleton:
    """`mapped` is a map of the object's length, with the metadata of all messages in their places."""

    def __init__(self, path: ObjectPath) -> None:
        self._path, self._file = path, tempfile.TemporaryFile()  # noqa: SIM115 - as long as somebody reads the map
        self._file.truncate(path.known.size)
        self.mapped = mmap.mmap(self._file.fileno(), path.known.size, access=mmap.ACCESS_READ)
        for at, data in _messages(path):
            self._write(data, at)

    def _write(self, data: bytes, at: int) -> None:
        """Write through the file: on a full disk that is an error, and through the map it would end the process."""
        while data:
            n_bytes = os.pwrite(self._file.fileno(), data, at)
            data, at = data[n_bytes:], at + n_bytes

    def bring(self, batch: Any, address: int) -> None:
        """Write what a record batch has but the values of matrices; the map begins at `address`."""
        import pyarrow as pa

        for column in batch.columns:
            array = column.storage if isinstance(column, pa.ExtensionArray) else column
            buffers = array.buffers()
            if _is_of_matrices(array.type):
                buffers = buffers[:-1]
            for buffer in buffers:
                if buffer is not None and buffer.size:
                    begin = buffer.address - address
                    self._write(self._path.ranges.read(begin, buffer.size), begin)


def _is_of_matrices(type_: Any) -> bool:
    import pyarrow as pa

    depth = 0
    while pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_):
        type_, depth = type_.value_type, depth + 1
    return depth > 1 and bool(pa.types.is_floating(type_))


def _messages(path: ObjectPath) -> list[tuple[int, bytes]]:
    """Return the head of each message and where it is, as far as they make sense; one more than MAX_MESSAGES at most.

    What comes where they make no sense is left to pyarrow, which says what is wrong.
    """
    return path.tree.once("arrow messages", path.known, lambda: _walk(path))


def _walk(path: ObjectPath) -> list[tuple[int, bytes]]:
    found, at, ranges = list[tuple[int, bytes]](), 0, path.ranges
    while len(found) <= MAX_MESSAGES:
        prefix = ranges.read(at, 8)
        n_bytes = int.from_bytes(prefix[4:], "little")
        if len(prefix) < 8 or prefix[:4] != _CONTINUATION or not 0 < n_bytes <= _MAX_METADATA_BYTES:
            found.append((at, prefix))  # the end mark, or nonsense
            break
        metadata = ranges.read(at + 8, n_bytes)
        found.append((at, prefix + metadata))
        body = _body_bytes(metadata)
        if body is None or at + 8 + n_bytes + body > ranges.size:
            break
        at += 8 + n_bytes + body
    return found


def _body_bytes(metadata: bytes) -> int | None:
    """Return bodyLength, the field 3 of a Message; None where the flatbuffer, which nobody verified, is none."""

    def number(at: int, n_bytes: int, *, signed: bool = False) -> int:
        if not 0 <= at <= len(metadata) - n_bytes:
            raise IndexError
        return int.from_bytes(metadata[at : at + n_bytes], "little", signed=signed)

    try:
        table = number(0, 4)
        vtable = table - number(table, 4, signed=True)
        offset = number(vtable + 10, 2) if number(vtable, 2) >= 12 else 0
        body = number(table + offset, 8, signed=True) if offset else 0
    except IndexError:
        return None
    return body if body >= 0 else None
