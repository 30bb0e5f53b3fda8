"""An Arrow IPC stream as record batches over a memory map, with what a hostile file could do to memory refused.

The map is for structure: values are read from the file at the place that `place` gives, as all other formats' are, so
that pages once read do not stay in this process, and a file that is cut meanwhile is an error and not a SIGBUS.

    FFFFFFFF | u32 n | n bytes of flatbuffer | body | ... | FFFFFFFF 00000000

pyarrow verifies the flatbuffers and the buffers' bounds. Ours to check: compressed bodies, which would be inflated to
the size that they claim, and the end mark, without which whole batches may be missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from encoder.arrays import I64
from encoder.errors import InputError, ShardError
from encoder.readers.arrays import ON_DISK, Array, array_in_file
from encoder.readers.arrow_skeleton import Skeleton
from encoder.stores.object_path import ObjectPath

FLOATS = {"halffloat": "float16", "float": "float32", "double": "float64"}
CONTINUATION = b"\xff\xff\xff\xff"


@contextmanager
def arrow_errors(path: Path) -> Iterator[None]:
    """Import pyarrow late, and say in our own words what it refuses."""
    try:
        import pyarrow
    except ImportError as exc:
        raise InputError(f"{path}: Arrow files need pyarrow: pip install 'saefetch[encode]'") from exc
    try:
        yield
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, KeyError) as exc:
        what = (str(exc).splitlines() or [type(exc).__name__])[0][:200]
        raise ShardError(f"{path}: Arrow cannot read it ({what}); truncated? copy it again") from exc


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream's schema, its record batches as slices of the map, and the map's address."""

    path: Path
    schema: Any
    batches: list[Any]
    address: int


def read_batches(path: Path) -> Stream:
    """Walk the stream, reading nothing but its metadata."""
    import pyarrow as pa

    skeleton = Skeleton(path) if isinstance(path, ObjectPath) else None
    whole = pa.memory_map(str(path)).read_buffer() if skeleton is None else pa.py_buffer(skeleton.mapped)
    mapped = pa.BufferReader(whole)
    messages = pa.ipc.MessageReader.open_stream(mapped)
    first, batches = next(_until_end(messages), None), []
    if first is None or first.type != "schema":  # pyarrow crashes when it reads another message as a schema
        raise ShardError(f"{path}: starts with {first.type if first else 'nothing'}, expected a schema: damaged")
    schema = pa.ipc.read_schema(first)
    for message in _until_end(messages):
        if message.type != "record batch":
            raise ShardError(f"{path}: holds a {message.type}, expected plain record batches")
        if _is_compressed(message.metadata.to_pybytes()):
            raise ShardError(f"{path}: record batches are compressed; write them with datasets' save_to_disk")
        batch = pa.ipc.read_record_batch(message, schema)
        if skeleton is not None:
            skeleton.bring(batch, whole.address)
        batch.validate()
        batches.append(batch)
    end = mapped.tell()
    mapped.seek(max(0, end - 8))
    if mapped.read(8) != CONTINUATION + bytes(4) or end != mapped.size():
        raise ShardError(
            f"{path}: no end mark at byte {end} of {mapped.size()} after {len(batches)} record batches: truncated"
            f" while it was written or copied"
        )
    return Stream(path, schema, batches, whole.address)


def place(stream: Stream, values: Any, what: str) -> Array:
    """Find an Arrow array of numbers in the file, as one row."""
    dtype = FLOATS[str(values.type)]
    n_bytes = len(values) * ON_DISK[dtype].itemsize
    buffer = values.buffers()[1]
    begin = 0 if buffer is None else buffer.address - stream.address + values.offset * ON_DISK[dtype].itemsize
    if not 0 <= begin <= begin + n_bytes <= stream.path.stat().st_size:
        raise ShardError(f"{stream.path}: {what} lies outside the file: a false header; copy or write it again")
    return array_in_file(stream.path, (begin, begin + n_bytes), [1, len(values)], dtype, what=what)


def _until_end(messages: Any) -> Iterator[Any]:
    while True:
        try:
            message = messages.read_next_message()
        except StopIteration:
            return
        yield message


def _is_compressed(metadata: bytes) -> bool:
    """Look into the message's flatbuffer, which pyarrow has verified: RecordBatch.compression is its field 3."""

    def field(table: int, slot: int) -> int:
        vtable = table - int.from_bytes(metadata[table : table + 4], "little", signed=True)
        entry = vtable + 4 + 2 * slot
        if entry + 2 > vtable + int.from_bytes(metadata[vtable : vtable + 2], "little"):
            return 0
        offset = int.from_bytes(metadata[entry : entry + 2], "little")
        return table + offset if offset else 0

    def follow(at: int) -> int:
        return at + int.from_bytes(metadata[at : at + 4], "little")

    header = field(follow(0), 2)
    return header != 0 and field(follow(header), 3) != 0


def storage(batch: Any, name: str) -> Any:
    import pyarrow as pa

    column = batch.column(batch.schema.names.index(name))
    return column.storage if isinstance(column, pa.ExtensionArray) else column


def is_list(type_: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_))


def list_lengths(lists: Any) -> I64:
    """Give the length of each list of an Arrow list array."""
    import pyarrow as pa

    if pa.types.is_fixed_size_list(lists.type):
        return np.full(len(lists), lists.type.list_size, np.int64)
    lengths: I64 = np.diff(lists.offsets.to_numpy()).astype(np.int64)
    return lengths


def flat_values(path: Path, lists: Any) -> Any:
    """Give the lists' values as one array, a slice of the map; nulls anywhere are refused."""
    values = None if lists.null_count else lists.flatten()
    if values is None or values.null_count:
        raise ShardError(f"{path}: has empty entries (null) where every token has its values")
    return values
