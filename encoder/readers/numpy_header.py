"""The header of an npy, alone or in an npz: which array it is, and where its data begin.

93 "NUMPY" | major minor | u16 or u32 n | n bytes of a Python dict literal | data
"""

from __future__ import annotations

import io
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from encoder.errors import ShardError
from encoder.readers.arrays import ON_DISK, Array, array_in_file, c_strides

MAGIC = b"\x93NUMPY"
MAX_HEADER_BYTES = 10_000  # numpy's own limit; a dict of three entries has no use for more

# What numpy's parser of the header, Python's own literal parser, raises on nonsense.
_MALFORMED = (ValueError, TypeError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError, OverflowError)


class Readable(Protocol):
    """What an npy is read from."""

    def read(self, n_bytes: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Header:
    """What an npy header says: shape, strides in elements, dtype; and `n_bytes`, after which the data begin.

    `swapped` says that the elements are big-endian.
    """

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str
    n_bytes: int
    swapped: bool = False


def read_header(path: Path, npy: Readable, size: int) -> Header:
    """Read the header of an npy of `size` bytes. Raises: ShardError where it is malformed, or of another dtype."""
    head = npy.read(8)
    major = head[6] if len(head) > 6 and head.startswith(MAGIC) else 0
    n_length = {1: 2, 2: 4}.get(major)
    if n_length is None:
        raise ShardError(f"{path}: npy version {major}, expected 1 or 2; save it again with np.save")
    length = npy.read(n_length)
    n_header = int.from_bytes(length, "little")
    data_start = 8 + n_length + n_header
    if n_header > MAX_HEADER_BYTES or data_start > size:
        raise ShardError(
            f"{path}: the header claims {n_header} bytes, the file has {size}; expected at most"
            f" {MAX_HEADER_BYTES}: truncated, or a false header"
        )
    parse = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    try:
        shape, fortran_order, dtype = parse(io.BytesIO(length + npy.read(n_header)))
    except _MALFORMED as exc:
        raise ShardError(f"{path}: the npy header is malformed ({str(exc)[:160]}); save it again with np.save") from exc
    strides = tuple(reversed(c_strides(shape[::-1]))) if fortran_order else c_strides(shape)
    return Header(shape, strides, _dtype_name(path, dtype), data_start, dtype.byteorder == ">")


def array_at(path: Path, size: int, begin: int = 0) -> Array:
    """Read the header of an npy of `size` bytes from `begin` on, and make its array. Raises: ShardError."""
    with path.open("rb") as file:
        file.seek(begin)
        header = read_header(path, file, size)
    return whole_array(path, header, (begin + header.n_bytes, begin + size), "the array")


def whole_array(path: Path, header: Header, space: tuple[int, int], what: str) -> Array:
    """Make the array of a header that fills the bytes [begin, end). Raises: ShardError if it does not."""
    array = array_in_file(path, space, header.shape, header.dtype, header.strides, what=what, swapped=header.swapped)
    if array.n_rows * array.width * ON_DISK[array.dtype].itemsize != space[1] - space[0]:
        raise ShardError(
            f"{path}: {what}: the header says {array.describe()}, which ends before the file's {space[1]} bytes do;"
            f" a false header, or two files in one"
        )
    return array


def _dtype_name(path: Path, dtype: np.dtype[np.generic]) -> str:
    if dtype.hasobject:
        raise ShardError(f"{path}: an object array, which is pickle inside; save it again as np.float32")
    if dtype.kind == "V" and dtype.itemsize == 2 and dtype.names is None and dtype.subdtype is None:
        return "bfloat16"
    if dtype.name not in ON_DISK:
        raise ShardError(f"{path}: the array is {dtype.name[:60]}, expected float16, float32 or float64")
    return dtype.name
