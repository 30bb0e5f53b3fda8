"""An npz that is read in one go holds what np.load reads, and what is odd is left to np.load."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from encoder.arrays import AnyArray
from encoder.sae.loaders.stored_npz import stored_arrays


def arrays() -> dict[str, AnyArray]:
    random = np.random.default_rng(0)
    return {
        "W_enc": random.standard_normal((48, 64)).astype(np.float32),
        "half": random.standard_normal(17).astype(np.float16),
        "wide": random.standard_normal((3, 0, 2)),
        "one": np.array(3.5),
        "big-endian": np.arange(5, dtype=">f4"),
    }


def test_it_is_what_np_load_reads(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays())
    found = stored_arrays(tmp_path / "a.npz")
    assert found is not None
    with np.load(tmp_path / "a.npz") as theirs:
        assert [*found] == theirs.files
        for name in theirs:
            assert found[name].dtype == theirs[name].dtype and found[name].shape == theirs[name].shape
            assert found[name].tobytes() == theirs[name].tobytes()


def changed(at: int) -> Callable[[Path], object]:
    """One bit of the file is another one."""

    def change(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[at] ^= 1
        path.write_bytes(content)

    return change


def with_more(name: str) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        with zipfile.ZipFile(path, "a") as file:
            file.writestr(name, b"more")

    return change


ODD: dict[str, Callable[[Path], object]] = {
    "compressed": lambda path: np.savez_compressed(path, **arrays()),
    "in Fortran's order": lambda path: np.savez(path, x=np.asfortranarray(np.ones((2, 3)))),
    "objects": lambda path: np.savez(path, x=np.array([None], dtype=object)),
    "a bit of an array": changed(5000),
    "a bit of a header": changed(60),
    "a bit of the directory": changed(-60),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "empty": lambda path: path.write_bytes(b""),
    "a file that is no array": with_more("notes.txt"),
    "an array that is none": with_more("x.npy"),
    "gone": Path.unlink,
}


@pytest.mark.parametrize("name", ODD)
def test_anything_else_is_left_to_np_load(name: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays())
    assert stored_arrays(tmp_path / "a.npz") is not None
    ODD[name](tmp_path / "a.npz")
    assert stored_arrays(tmp_path / "a.npz") is None
