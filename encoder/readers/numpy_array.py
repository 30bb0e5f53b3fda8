"""numpy .npy: one array [n, d] or [b, s, d], in C or Fortran order.

    93 "NUMPY" | major minor | u16 or u32 n | n bytes of a Python dict literal | data

bfloat16 is not a numpy dtype: `V2` is what ml_dtypes writes for it; int16 or uint16 bits need --select dtype=bfloat16.
"""

from __future__ import annotations

import io
import tokenize

import numpy as np

from encoder.errors import ShardError
from encoder.readers.arrays import ON_DISK, Array, array_in_file, c_strides
from encoder.readers.assemble import shard_of
from encoder.readers.select import check_rows, declared
from encoder.readers.source import Source
from encoder.shard import Shard

NAME = "numpy .npy"
MAGIC = b"\x93NUMPY"
MAX_HEADER_BYTES = 10_000  # numpy's own limit; a dict of three entries has no use for more

# What numpy's parser of the header, Python's own literal parser, raises on nonsense.
_MALFORMED = (ValueError, TypeError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError, OverflowError)


def claims(source: Source) -> bool:
    return source.head.startswith(MAGIC)


def open_shard(source: Source) -> Shard:
    source.allow_select()
    rows = declared(_array(source), source)
    check_rows(rows, "the array", source)
    return shard_of(source, rows)


def _array(source: Source) -> Array:
    major, path = source.head[6] if len(source.head) > 6 else 0, source.path
    n_length = {1: 2, 2: 4}.get(major)
    if n_length is None:
        raise ShardError(f"{path}: npy version {major}, expected 1 or 2; save it again with np.save")
    n_header = int.from_bytes(source.head[8 : 8 + n_length], "little")
    data_start = 8 + n_length + n_header
    if n_header > MAX_HEADER_BYTES or data_start > source.size:
        raise ShardError(
            f"{path}: the header claims {n_header} bytes, the file has {source.size}; expected at most"
            f" {MAX_HEADER_BYTES}: truncated, or a false header"
        )
    with path.open("rb") as file:
        header = io.BytesIO(file.read(data_start)[8:])
    read_header = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    try:
        shape, fortran_order, dtype = read_header(header)
    except _MALFORMED as exc:
        raise ShardError(f"{path}: the npy header is malformed ({str(exc)[:160]}); save it again with np.save") from exc
    strides = tuple(reversed(c_strides(shape[::-1]))) if fortran_order else None
    space = (data_start, source.size)
    array = array_in_file(path, space, shape, _dtype_name(source, dtype), strides, what="the array")
    if array.n_rows * array.width * ON_DISK[array.dtype].itemsize != source.size - data_start:
        raise ShardError(
            f"{path}: the header says {array.describe()}, which ends before the file's {source.size} bytes do;"
            f" a false header, or two files in one"
        )
    return array


def _dtype_name(source: Source, dtype: np.dtype[np.generic]) -> str:
    if dtype.hasobject:
        raise ShardError(f"{source.path}: an object array, which is pickle inside; save it again as np.float32")
    if dtype.kind == "V" and dtype.itemsize == 2 and dtype.names is None and dtype.subdtype is None:
        return "bfloat16"
    if dtype.byteorder == ">":
        raise ShardError(f"{source.path}: big-endian {dtype.name}; save it again with .astype('<f{dtype.itemsize}')")
    if dtype.name not in ON_DISK:
        raise ShardError(f"{source.path}: the array is {dtype.name[:60]}, expected float16, float32 or float64")
    return dtype.name
