"""The header of a safetensors file, checked to the byte; no library is needed, and nothing but the header is read.

    u64 n | n bytes of JSON {name: {"dtype", "shape", "data_offsets": [begin, end]}} | data

https://huggingface.co/docs/safetensors: offsets count from the data's start, tile it without holes or overlaps.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from encoder.errors import ShardError
from encoder.readers.arrays import ON_DISK, Array, array_in_file
from encoder.readers.natural_order import in_order

MAX_HEADER_BYTES = 16 << 20  # the format allows 100 MB; parsed JSON takes some twenty times its bytes
DTYPES = {
    "BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64", "BOOL": "bool",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "U16": "uint16",
    "U32": "uint32",
}  # fmt: skip


def looks_like(head: bytes, size: int) -> bool:
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= MAX_HEADER_BYTES


def load(path: Path, size: int, begin: int = 0) -> dict[str, Array]:
    """Read the names and places of all arrays; those of a dtype that we do not know are left out.

    What is read are the `size` bytes from `begin` on: the whole file, or a member of an archive.
    """
    with path.open("rb") as file:
        file.seek(begin)
        n_header = int.from_bytes(file.read(8), "little")
        if n_header > size - 8:
            raise ShardError(f"{path}: the header claims {n_header} bytes, the file has {size - 8} after it: truncated")
        text = file.read(n_header)
    try:
        header: Any = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise ShardError(f"{path}: the safetensors header is not valid JSON ({exc}); write the file again") from exc
    if not isinstance(header, dict):
        raise ShardError(f"{path}: the safetensors header is a {type(header).__name__}, expected an object")
    data_start, arrays, spans = 8 + n_header, {}, []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        first, end, dtype = _entry(path, name, entry)
        spans.append((first, end))
        if data_start + end > size:
            raise ShardError(
                f"{path}: {name!r} ends at byte {data_start + end}, but the file has {size}: truncated; copy it again"
            )
        if dtype in ON_DISK:
            space = (begin + data_start + first, begin + data_start + end)
            array = array_in_file(path, space, entry["shape"], dtype, what=repr(name))
            if math.prod(array.shape) * ON_DISK[dtype].itemsize != end - first:
                raise ShardError(f"{path}: tensor {name!r} is {array.describe()} but has {end - first} bytes")
            arrays[name] = array
    spans.sort()
    holes = any(a[1] != b[0] for a, b in zip([(0, 0), *spans], [*spans, (size - data_start, 0)], strict=True))
    if holes:
        raise ShardError(f"{path}: the tensors do not tile the {size - data_start} data bytes: a false header; refused")
    return in_order(arrays)


def metadata(path: Path) -> dict[str, str]:
    """Return what the writer of a file that `load` has read says beside its tensors."""
    with path.open("rb") as file:
        header: Any = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    told = header.get("__metadata__")
    return {str(key): value for key, value in told.items() if isinstance(value, str)} if isinstance(told, dict) else {}


def _entry(path: Path, name: str, entry: Any) -> tuple[int, int, str]:
    try:
        begin, end = entry["data_offsets"]
        dtype = DTYPES.get(entry["dtype"], "")
        ok = type(begin) is int and type(end) is int and 0 <= begin <= end and isinstance(entry["shape"], list)
    except (TypeError, KeyError, ValueError) as exc:
        raise ShardError(f"{path}: the header's entry for {name!r} is malformed: {str(entry)[:120]}") from exc
    if not ok:
        raise ShardError(f"{path}: the header's entry for {name!r} has data_offsets {str(entry['data_offsets'])[:80]}")
    return begin, end, dtype
