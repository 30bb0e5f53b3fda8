"""An npz is read as its arrays are; a compressed one in bounded memory, forwards; one that lies is refused."""

from __future__ import annotations

import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from shards import open_one

from encoder.errors import AmbiguousError, ShardError
from encoder.readers import find_inputs

ROWS = np.random.default_rng(0).standard_normal((500, 8)).astype(np.float32)


def compressed(path: Path, **arrays: np.ndarray) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def rewritten(path: Path, change: dict[bytes, bytes]) -> Path:
    content = path.read_bytes()
    for old, new in change.items():
        assert len(old) == len(new) and old in content
        content = content.replace(old, new)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_layer_is_chosen_by_its_name(tmp_path: Path, save: object) -> None:
    path = tmp_path / "acts.npz"
    save(path, layer_12=ROWS * 2, layer_16=ROWS)  # type: ignore[operator]
    with pytest.raises(AmbiguousError, match=r"--select layer_12.*layer_12.*layer_16"):
        open_one(path, 8)
    shard = open_one(path, 8, {"key": "layer_16"})
    assert np.array_equal(shard.read(0, 500), ROWS) and shard.hook_name == "layer_16"


def test_rows_of_a_compressed_array_may_be_read_in_any_order(tmp_path: Path) -> None:
    shard = open_one(compressed(tmp_path / "a.npz", x=ROWS), 8)
    for start, stop in ((490, 500), (0, 10), (10, 300), (5, 6), (500, 500)):
        assert np.array_equal(shard.read(start, stop), ROWS[start:stop])


def test_a_compressed_array_takes_the_memory_of_the_rows_that_are_asked_for(tmp_path: Path) -> None:
    shard = open_one(compressed(tmp_path / "a.npz", x=np.zeros((1 << 20, 16), np.float32)), 16)
    tracemalloc.start()
    for start in range(0, 1 << 20, 1 << 14):
        shard.read(start, start + (1 << 14))
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_a_compressed_array_whose_rows_do_not_lie_together_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = compressed(tmp_path / "a.npz", x=np.asfortranarray(ROWS))
    with pytest.raises(ShardError, match=r"np\.savez"):
        open_one(path, 8)
    np.savez(path, x=np.asfortranarray(ROWS))
    assert np.array_equal(open_one(path, 8).read(3, 7), ROWS[3:7])


@pytest.mark.parametrize("dtype", [">f2", ">f4", ">f8"])
def test_big_endian_arrays_are_turned_in_every_layout(tmp_path: Path, dtype: str) -> None:
    turned, ids = ROWS.astype(dtype), np.arange(500, dtype=">i8")
    np.save(tmp_path / "a.npy", turned)
    np.save(tmp_path / "f.npy", np.asfortranarray(turned))
    np.savez(tmp_path / "z.npz", x=turned, input_ids=ids)
    np.savez_compressed(tmp_path / "c.npz", x=turned, input_ids=ids)
    native = turned.astype(turned.dtype.newbyteorder("=")).astype(np.float32 if dtype == ">f8" else dtype[1:])
    for name in ("a.npy", "f.npy", "z.npz", "c.npz"):
        shard = open_one(tmp_path / name, 8)
        assert np.array_equal(shard.read(3, 499), native[3:499])
        assert ".npy" in name or shard.tokens().token_ids.tolist() == list(range(500))  # type: ignore[union-attr]


def test_a_wrong_checksum_is_found_where_the_array_ends(tmp_path: Path) -> None:
    path = compressed(tmp_path / "a.npz", x=ROWS)
    crc = zipfile.ZipFile(path).getinfo("x.npy").CRC.to_bytes(4, "little")
    shard = open_one(rewritten(path, {crc: b"\1\2\3\4"}), 8)
    assert np.array_equal(shard.read(0, 100), ROWS[:100])
    with pytest.raises(ShardError, match="checksum"):
        shard.read(100, 500)


def test_compressed_bytes_that_are_damaged_or_too_few_are_an_error(tmp_path: Path) -> None:
    path = compressed(tmp_path / "a.npz", x=ROWS)
    content = bytearray(path.read_bytes())
    content[2000:2050] = bytes(50)
    path.write_bytes(content)
    with pytest.raises(ShardError, match="damaged"):
        open_one(path, 8).read(0, 500)


def test_a_claim_that_deflate_cannot_keep_is_refused_before_anything_is_unpacked(tmp_path: Path) -> None:
    path = compressed(tmp_path / "a.npz", x=np.zeros((1000, 8), np.float32))
    size = zipfile.ZipFile(path).getinfo("x.npy").file_size.to_bytes(4, "little")
    with pytest.raises(ShardError, match="which deflate cannot"):
        open_one(rewritten(path, {size: (1 << 30).to_bytes(4, "little")}), 8)


def test_objects_are_passed_over_and_refused_where_there_is_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, words=np.array([{}, []], dtype=object), x=ROWS)
    assert np.array_equal(open_one(path, 8).read(0, 5), ROWS[:5])
    np.savez(path, words=np.array([{}, []], dtype=object))
    with pytest.raises(ShardError, match="pickle"):
        open_one(path, 8)


def test_a_features_file_is_no_activations(tmp_path: Path) -> None:
    sparse.save_npz(tmp_path / "features.npz", sparse.csr_matrix(ROWS))
    np.savez(tmp_path / "acts.npz", x=ROWS)
    unread: list[Path] = []
    assert find_inputs(tmp_path, unread=unread.append) == [tmp_path / "acts.npz"]
    assert unread == [tmp_path / "features.npz"]
    with pytest.raises(ShardError, match="a sparse matrix"):
        open_one(tmp_path / "features.npz", 8)
