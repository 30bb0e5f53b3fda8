"""HDF5: groups of datasets, read with h5py: {"group": {"dataset": array}}.

A dataset whose numbers are not in the file itself is refused: external storage, virtual datasets. So are links: only
what a group holds by itself is looked at, so no link leads into another file. A dataset of which chunks were never
written reads as zeros, and is refused as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from encoder.errors import ShardError
from encoder.readers.grid import GridArray, grid_array
from encoder.readers.natural_order import natural

MAGIC = b"\x89HDF\r\n\x1a\n"
MAX_OBJECTS = 100_000
MAX_DEPTH = 16
_SCALES = {"scale_factor": 1.0, "add_offset": 0.0}
"""What netCDF's conventions multiply by and add to numbers on disk, and what changes nothing."""


def looks_like(head: bytes) -> bool:
    return head.startswith(MAGIC)


def load(path: Path) -> dict[str, Any]:
    """Give the file's datasets by the names of their groups.

    Raises: ShardError where the file is damaged, or a dataset's numbers are not in it.
    """
    try:
        import h5py
    except ImportError as exc:
        raise ShardError(f"{path}: needs h5py: pip install 'saefetch[hdf5]'") from exc
    with _errors(path):
        file = h5py.File(path, "r", locking="best-effort")
        loaded = _Walk(path).group(file, "", 0)
    if not loaded:
        raise ShardError(f"{path}: holds no dataset of numbers")
    return loaded


def attributes(path: Path, name: str) -> list[dict[str, str | int]]:
    """Return the words and whole numbers that stand as attributes at a dataset, then at the groups that it is in.

    `name` is as `load` gives it, its parts joined with dots.
    """
    import h5py

    with _errors(path), h5py.File(path, "r", locking="best-effort") as file:
        holders, parts = [file], name.split(".")
        for i in range(len(parts)):
            for key in (".".join(parts[i:]), parts[i]):
                holder = holders[-1]
                if isinstance(holder, h5py.Group) and isinstance(holder.get(key, getlink=True), h5py.HardLink):
                    holders.append(holders[-1][key])
                    break
        return [dict(_plain(holder.attrs)) for holder in reversed(holders)]


def _plain(attrs: Any) -> Iterator[tuple[str, str | int]]:
    for key, value in attrs.items():
        word = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        if isinstance(word, str):
            yield key, word
        elif isinstance(word, np.integer):
            yield key, int(word)


class _Walk:
    """Visits what a file holds, once and within limits: groups may hold each other."""

    def __init__(self, path: Path) -> None:
        self.path, self.n_objects = path, 0

    def group(self, group: Any, name: str, depth: int) -> dict[str, Any]:
        import h5py

        found: dict[str, Any] = {}
        keys = list(group)
        if keys == sorted(keys):  # no order of its own
            keys.sort(key=natural)
        for key in keys:
            self.n_objects += 1
            if self.n_objects > MAX_OBJECTS or depth > MAX_DEPTH:
                raise ShardError(
                    f"{self.path}: over {MAX_OBJECTS:,} objects, or groups nested deeper than {MAX_DEPTH}; refused"
                )
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                continue  # to elsewhere in this file, where it is found by itself, or into another one
            member = group[key]
            if isinstance(member, h5py.Group):
                if below := self.group(member, f"{name}{key}/", depth + 1):
                    found[key] = below
            elif isinstance(member, h5py.Dataset) and (array := self.dataset(member, f"{name}{key}")) is not None:
                found[key] = array
        return found

    def dataset(self, dataset: Any, name: str) -> GridArray | None:
        """Return the dataset as an array; None for one of strings, records or lists."""
        what = f"dataset {name[:80]!r}"
        if dataset.shape is None or dataset.dtype.kind not in "fiub":
            return None
        if dataset.external or dataset.is_virtual:
            raise ShardError(f"{self.path}: {what} has its numbers in other files; copy them into this one (h5repack)")
        self.check_is_written(dataset, what)
        self.check_is_plain(dataset, what)
        chunks = dataset.chunks or (1,) * len(dataset.shape)
        fill = dataset.attrs.get("_FillValue")
        is_number = fill is not None and getattr(fill, "size", 0) == 1
        return grid_array(
            self.path, what, dataset.shape, chunks, dataset.dtype, lambda box: dataset[box],
            float(fill.reshape(-1)[0]) if is_number else None,
        )  # fmt: skip

    def check_is_written(self, dataset: Any, what: str) -> None:
        """Refuse a dataset that would read as zeros where nothing was written."""
        if dataset.size == 0:
            return
        n_there, n_all = dataset.id.get_storage_size(), dataset.size * dataset.dtype.itemsize
        unit = "bytes"
        if dataset.chunks is not None:
            n_all = 1
            for size, chunk in zip(dataset.shape, dataset.chunks, strict=True):
                n_all *= -(-size // chunk)
            n_there, unit = dataset.id.get_num_chunks(), "chunks"
        elif dataset.id.get_type().get_size() != dataset.dtype.itemsize:  # numbers of another width on disk
            n_all = dataset.size * dataset.id.get_type().get_size()
        if n_there < n_all:
            raise ShardError(
                f"{self.path}: {what} {list(dataset.shape)} has {n_there:,} of its {n_all:,} {unit}: the rest was never"
                f" written and would be read as zeros; resize it to what was written"
            )

    def check_is_plain(self, dataset: Any, what: str) -> None:
        for name, neutral in _SCALES.items():
            if name in dataset.attrs and np.any(dataset.attrs[name] != neutral):
                raise ShardError(f"{self.path}: {what} is packed ({name}): save the unpacked numbers")


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as exc:
        why = (str(exc).splitlines() or [type(exc).__name__])[0][:200]
        raise ShardError(f"{path}: HDF5 cannot read it ({why}): truncated, or damaged; copy it again") from exc
