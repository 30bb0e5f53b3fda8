"""Numbers without a header, as np.memmap and ndarray.tofile leave them: acts.dat, acts.bin.

    acts.dat     the array's bytes, in C order, or in Fortran order where the side file says so
    acts.json    {"dtype": "float16", "shape": [1000, 2304]}, a side file under one of the names below

What a side file does not say, `--dtype` and `--shape` do. The size of the file has to be that of the array.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoder.errors import ShardError
from encoder.readers import sidecars
from encoder.readers.arrays import ON_DISK, array_in_file, c_strides
from encoder.readers.declared import parse_dtype, parse_shape
from encoder.readers.side_json import read_json
from encoder.readers.source import Source, printable
from encoder.shard import Shard

NAME = "headerless memmaps with a side file"
SUFFIXES = sidecars.HEADERLESS
OF_FOLDER = ("metadata.json", "meta.json", "shape.json", "info.json", "config.json")
"""Side files that may describe all data files of their folder, or each by its name."""
HOW = (
    "numbers without a header, so their dtype and shape are not known: give --dtype and --shape, or put"
    ' {"dtype": "float16", "shape": [rows, d_in]} beside it as '
)
_DTYPE = ("dtype", "data_type", "numpy_dtype", "np_dtype", "torch_dtype")
_SHAPE = ("shape", "array_shape", "memmap_shape")
SCALES: dict[str, float] = {
    "scale": 1, "scale_factor": 1, "scaling_factor": 1, "add_offset": 0, "zero_point": 0,
}  # fmt: skip
"""What says that the numbers are not the activations themselves, and what of it changes nothing."""
_ROWS = ("n_tokens", "num_tokens", "total_tokens", "n_rows", "num_rows", "rows", "n_samples", "num_samples", "n")
_WIDTH = ("d_in", "d_model", "hidden_size", "hidden_dim", "activation_dim", "d_activation", "dim", "d")


@dataclass(frozen=True, slots=True)
class _Said:
    """What a side file says; None for what it does not say."""

    path: Path
    dtype: str | None
    shape: tuple[int, ...] | None
    is_fortran: bool
    offset: int


def claims(source: Source) -> bool:
    """Say whether the caller declares such files, or a side file describes this one; the last reader to be asked."""
    is_declared = "raw_dtype" in source.select or "raw_shape" in source.select
    return source.size > 0 and (is_declared or (source.path.suffix in SUFFIXES and has_side_file(source.path)))


def has_side_file(path: Path) -> bool:
    """Say whether a side file lies beside the file that speaks of a dtype or a shape."""
    try:
        return _side_file(path) is not None
    except ShardError:  # to open the shard is to be told
        return True


def open_shard(source: Source) -> Shard:
    source.allow_select("axes")
    said = _side_file(source.path)
    dtype, swapped = _dtype(source, said)
    shape = _shape(source, said, dtype)
    begin = 0 if said is None else said.offset
    n_bytes = math.prod(shape) * ON_DISK[dtype].itemsize
    if n_bytes != source.size - begin:
        by = "the flags say" if said is None else f"{said.path.name} says"
        raise ShardError(
            f"{source.path}: {by} {dtype}{list(shape)}, {n_bytes:,} bytes, but the file has"
            f" {source.size - begin:,}: another dtype or shape, or truncated"
        )
    is_fortran = said is not None and said.is_fortran
    strides = tuple(reversed(c_strides(shape[::-1]))) if is_fortran else None
    space = (begin, source.size)
    array = array_in_file(source.path, space, shape, dtype, strides, what="the memmap", swapped=swapped)
    return sidecars.one_array(source, array, "the memmap")


def side_names(path: Path) -> list[str]:
    """List the names of side files that describe this file alone."""
    stems = dict.fromkeys((path.stem, path.name))
    ends = [f"{joint}{word}.json" for word in ("meta", "metadata", "info", "shape") for joint in "._"]
    return [stem + end for end in (".json", ".meta", *ends) for stem in stems]


def _side_file(path: Path) -> _Said | None:
    """Read the file's own side file, or else that of its folder.

    Raises: ShardError if it is malformed, or two of the file's own say different things.
    """
    own = [one for name in side_names(path) if (one := path.parent / name).is_file()]
    found = list(_speaking(path, own)) or list(_speaking(path, [path.parent / name for name in OF_FOLDER]))[:1]
    for other in found[1:]:
        if (other.dtype, other.shape) != (found[0].dtype, found[0].shape):
            raise ShardError(f"{path}: {found[0].path.name} and {other.path.name} say different things; remove one")
    return found[0] if found else None


def _speaking(path: Path, sides: list[Path]) -> Iterator[_Said]:
    for side in sides:
        if not side.is_file():
            continue
        is_own = side.name not in OF_FOLDER
        try:
            members: Any = read_json(side)
        except ShardError:
            if is_own:
                raise
            continue
        for name in (path.name, path.stem):
            if isinstance(members.get(name), dict):
                members = members[name]
                break
        said = _said(side, members)
        # A model's config.json has a dtype and a width too, which are not this file's.
        if said is not None and (is_own or (said.shape is not None and said.dtype is not None)):
            yield said


def _said(side: Path, members: dict[str, Any]) -> _Said | None:
    dtype = next((members[name] for name in _DTYPE if name in members), None)
    shape = next((members[name] for name in _SHAPE if name in members), None)
    if shape is None:
        sizes = [next((members[name] for name in names if name in members), None) for names in (_ROWS, _WIDTH)]
        shape = None if None in sizes else sizes
    if dtype is None and shape is None:
        return None
    order, offset = str(members.get("order", "C")).upper(), members.get("offset", 0)
    is_fortran = order == "F" or members.get("fortran_order") is True
    if order not in ("C", "F") or type(offset) is not int or not 0 <= offset < 1 << 62:
        raise ShardError(f"{side}: order {order[:20]!r} and offset {str(offset)[:40]}, expected C or F, and bytes")
    for name, neutral in SCALES.items():
        if members.get(name, neutral) not in (neutral, None):
            raise ShardError(f"{side}: {name} is {str(members[name])[:40]}: the numbers are packed; save them unpacked")
    if str(members.get("byteorder", members.get("endianness", "little"))).lower() in ("big", ">"):
        dtype = f">{dtype}"
    text = None if dtype is None else str(dtype)
    return _Said(side, text, _sizes(side, shape), is_fortran, offset)


def _sizes(side: Path, shape: Any) -> tuple[int, ...] | None:
    if shape is None:
        return None
    if isinstance(shape, list) and 1 <= len(shape) <= 8 and all(type(n) is int and -1 <= n < 1 << 62 for n in shape):
        return tuple(shape)
    raise ShardError(f"{side}: shape is {str(shape)[:80]}, expected a list of sizes, such as [1000, 2304]")


def _dtype(source: Source, said: _Said | None) -> tuple[str, bool]:
    text = source.select.get("raw_dtype")
    by = "--dtype"
    if text is None and said is not None and said.dtype is not None:
        text, by = said.dtype, str(said.path)
    if text is None:
        raise ShardError(f"{source.path}: say --dtype too, such as --dtype float16: a file without a header has none")
    dtype = parse_dtype(text)
    if dtype is None:
        raise ShardError(
            f"{source.path}: {by} says dtype {printable(text)}, expected float16, bfloat16, float32 or float64; say it"
            f" with --dtype"
        )
    if said is not None and said.dtype is not None and parse_dtype(said.dtype) not in (dtype, None):
        raise ShardError(
            f"{source.path}: {by} says dtype {text}, but {said.path.name} says {printable(said.dtype)}; mend one"
        )
    return dtype


def _shape(source: Source, said: _Said | None, dtype: str) -> tuple[int, ...]:
    """Return the shape, with the size that the file's size gives in the place of -1; without one, rows of d_in."""
    flag = source.select.get("raw_shape")
    shape = parse_shape(flag) if flag is not None else None if said is None else said.shape
    if shape is None:
        if source.d_in is None:
            raise ShardError(f"{source.path}: say --shape too, such as --shape -1,2304")
        shape = (-1, source.d_in)
    n_bytes = source.size - (0 if said is None else said.offset)
    known = math.prod(n for n in shape if n != -1) * ON_DISK[dtype].itemsize
    if -1 not in shape:
        return shape
    if shape.count(-1) > 1 or known == 0 or n_bytes % known:
        raise ShardError(
            f"{source.path}: {n_bytes:,} bytes are no whole number of {dtype} rows {list(shape)}; another dtype or"
            f" shape, or truncated"
        )
    return tuple(n_bytes // known if n == -1 else n for n in shape)
