"""zarr, versions 2 and 3: a folder that is one array, or a group of arrays by name, read with the zarr package.

    acts.zarr/zarr.json           {"node_type": "array", "shape", "data_type", "codecs", ...}      version 3
    acts.zarr/.zarray             {"shape", "dtype", "compressor", "filters", ...}                 version 2
    acts.zarr/c/0/0, 0.0, ...     chunks; one that is missing stands for zeros

The metadata are read here first: codecs are those of numbers alone, as others run code (numcodecs has one for pickles).
A missing chunk is what an incomplete copy looks like, so it is refused and not taken for zeros.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from encoder.errors import ShardError
from encoder.readers.arrays import Array
from encoder.readers.grid import grid_array
from encoder.readers.natural_order import in_order
from encoder.readers.side_json import read_json

GROUP_OR_ARRAY = ("zarr.json", ".zarray", ".zgroup")
MAX_ARRAYS = 10_000
MAX_DEPTH = 16
_CODECS = {
    "bytes", "endian", "transpose", "blosc", "gzip", "zstd", "crc32c", "sharding_indexed", "zlib", "bz2", "lzma", "lz4",
    "shuffle", "delta", "crc32", "adler32", "fletcher32", "bitround", "fixedscaleoffset",
}  # fmt: skip


def is_store(folder: Path) -> bool:
    """Say whether the folder is a zarr array or group."""
    return any((folder / name).is_file() for name in GROUP_OR_ARRAY)


def load(folder: Path) -> Array | dict[str, Any]:
    """Give the array, or the group's arrays by name. Raises: ShardError where it is damaged, or not all there."""
    try:
        import zarr  # noqa: F401
    except ImportError as exc:
        raise ShardError(f"{folder}: needs zarr: pip install 'saefetch[zarr]'") from exc
    found: Array | dict[str, Any] | None = _load(folder, "", [0], 0)
    if found is None or found == {}:
        raise ShardError(f"{folder}: holds no array of numbers that can be read")
    return found


def _load(folder: Path, name: str, n_arrays: list[int], depth: int) -> Any:
    n_arrays[0] += 1
    if n_arrays[0] > MAX_ARRAYS or depth > MAX_DEPTH:
        raise ShardError(f"{folder}: over {MAX_ARRAYS:,} arrays, or groups deeper than {MAX_DEPTH}; refused")
    metadata = _metadata(folder)
    if metadata is not None:
        return _array(folder, f"the array {name[:80]!r}" if name else "the array", metadata)
    below = in_order({one.name: one for one in folder.iterdir() if one.is_dir() and is_store(one)}).values()
    loaded = {one.name: _load(one, f"{name}/{one.name}".lstrip("/"), n_arrays, depth + 1) for one in below}
    return {key: value for key, value in loaded.items() if value is not None and value != {}}


def _metadata(folder: Path) -> dict[str, Any] | None:
    """Read an array's metadata; None for a group."""
    third, second = folder / "zarr.json", folder / ".zarray"
    if second.is_file():
        if third.is_file():
            raise ShardError(f"{folder}: has the metadata of version 2 and of version 3; remove .zarray or zarr.json")
        return read_json(second)
    if not third.is_file():
        return None
    metadata = read_json(third)
    if metadata.get("node_type") not in ("array", "group"):
        raise ShardError(f"{third}: node_type is {str(metadata.get('node_type'))[:40]!r}, expected array or group")
    return metadata if metadata["node_type"] == "array" else None


def _array(folder: Path, what: str, metadata: dict[str, Any]) -> Array | None:
    _check_codecs(folder, metadata)
    import zarr

    try:
        opened: Any = zarr.open_array(str(folder), mode="r")
        dtype, shape, chunks = np.dtype(opened.dtype), opened.shape, opened.chunks
        shards = opened.shards or chunks
    except Exception as exc:  # the library has many errors of its own, and passes on those of its codecs
        why = (str(exc).splitlines() or [type(exc).__name__])[0][:200]
        raise ShardError(f"{folder}: zarr cannot read it ({why}); copy or write it again") from exc
    if dtype.hasobject or dtype.kind not in "fiubV" or dtype.names is not None:
        return None
    if attributes := {"scale_factor", "add_offset"} & set(dict(opened.attrs)):
        raise ShardError(f"{folder}: {what} is packed ({', '.join(sorted(attributes))}): save the unpacked numbers")
    if math.prod(shape) and any(n < 1 for n in shards):
        raise ShardError(f"{folder}: {what} has chunks {list(shards)}: a false header")
    n_files = math.prod(-(-size // n) for size, n in zip(shape, shards, strict=True)) if math.prod(shape) else 0
    n_there = _n_files(folder, n_files)
    if n_there < n_files:
        raise ShardError(
            f"{folder}: {what} {list(shape)} has {n_there:,} of its {n_files:,} chunks, and the rest would be read as"
            f" zeros: an incomplete copy or run; or the writer left out chunks of zeros: write_empty_chunks"
        )
    if dtype.kind == "f":  # what is not there is to be seen in the numbers
        opened = _with_fill(opened, np.nan)
    fill = np.nan if dtype.kind == "f" else None
    return grid_array(folder, what, shape, chunks, dtype, lambda box: opened[box], fill)


def _with_fill(opened: Any, fill: float) -> Any:
    """Return the array with another number for what is not there."""
    import zarr

    inner = opened._async_array
    metadata = replace(inner.metadata, fill_value=np.dtype(opened.dtype).type(fill))
    return zarr.Array(type(inner)(metadata=metadata, store_path=inner.store_path, config=inner.config))


def _n_files(folder: Path, enough: int) -> int:
    """Count the files below an array's folder that are no metadata, up to `enough`."""
    n = 0
    for path in folder.rglob("*"):
        if path.name != "zarr.json" and path.name[0] != "." and path.is_file():
            n += 1
            if n >= enough:
                break
    return n


def _check_codecs(folder: Path, metadata: dict[str, Any]) -> None:
    for name in _codec_names(metadata, 0):
        if name.removeprefix("numcodecs.") not in _CODECS:
            raise ShardError(
                f"{folder}: packed by the codec {str(name)[:40]!r}, which is not for plain numbers; refused"
            )


def _codec_names(metadata: object, depth: int) -> Iterator[str]:
    """Yield the names of codecs in an array's metadata, those within others too."""
    if not isinstance(metadata, dict) or depth > 4:
        yield from () if depth <= 4 else ("nested too deep",)
        return
    listed: list[object] = []
    for key in ("codecs", "index_codecs", "filters", "compressor", "storage_transformers"):
        value = metadata.get(key)
        listed += value if isinstance(value, list) else [] if value is None else [value]
    for codec in listed:
        name = codec.get("name", codec.get("id")) if isinstance(codec, dict) else codec
        yield str(name)
        if isinstance(codec, dict):
            yield from _codec_names(codec.get("configuration"), depth + 1)
