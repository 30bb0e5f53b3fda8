"""Documents under numbered names are read in the order of the numbers, whatever order a format sorts names in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import zarr
from safetensors.torch import save_file
from shards import open_one, random, same_bits, whole

from encoder.readers.natural_order import natural

LENGTHS = (3, 4, 5, 6, 7, 8, 4, 5, 6, 7, 5, 2)
ROWS = random((sum(LENGTHS), 8), torch.float32)
DOCUMENTS = dict(zip((f"prompt_{n}" for n in range(len(LENGTHS))), ROWS.split(LENGTHS), strict=True))


def of_safetensors(folder: Path) -> Path:
    save_file({name: rows.contiguous() for name, rows in DOCUMENTS.items()}, folder / "a.safetensors")
    return folder / "a.safetensors"


def of_hdf5(folder: Path) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        for name, rows in DOCUMENTS.items():
            file[name] = rows.numpy()
    return folder / "a.h5"


def of_hdf5_groups(folder: Path) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        for name, rows in DOCUMENTS.items():
            file[f"{name}/acts"], file[f"{name}/input_ids"] = rows.numpy(), np.arange(len(rows))
    return folder / "a.h5"


def of_hdf5_in_the_order_of_writing(folder: Path) -> Path:
    """The writer asked for an order, and its order is the reverse of the numbers."""
    with h5py.File(folder / "a.h5", "w", track_order=True) as file:
        for number, rows in zip(range(len(LENGTHS))[::-1], DOCUMENTS.values(), strict=True):
            file[f"prompt_{number}"] = rows.numpy()
    return folder / "a.h5"


def of_zarr(folder: Path) -> Path:
    group = zarr.create_group(str(folder / "a.zarr"))
    for name, rows in DOCUMENTS.items():
        group.create_array(name, data=rows.numpy())
    return folder / "a.zarr"


@pytest.mark.parametrize("write", [of_safetensors, of_hdf5, of_hdf5_groups, of_hdf5_in_the_order_of_writing, of_zarr])
def test_the_tenth_document_comes_after_the_second(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    shard = open_one(write(tmp_path), 8)
    assert same_bits(whole(shard), ROWS)
    document = shard.tokens().row_document
    assert document is not None and np.bincount(document).tolist() == list(LENGTHS)


def test_numbers_of_any_length_are_compared_as_numbers() -> None:
    names = ["a2", "a10", "a009", f"a{'9' * 5000}", "a", "b1", "a02"]
    assert sorted(names, key=natural) == ["a", "a02", "a2", "a009", "a10", f"a{'9' * 5000}", "b1"]
