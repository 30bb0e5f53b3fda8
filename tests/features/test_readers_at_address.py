"""Every format at an address gives what it gives on disk; what is not read by ranges comes through scratch."""

from __future__ import annotations

import gc
import gzip
import shutil
import tarfile
import tempfile
from collections import namedtuple
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import shards
import torch
import zstandard
from obstore.store import MemoryStore
from shards import Made, open_one, random, same_bits, whole

from encoder.errors import ChangingError, InputError, ShardError
from encoder.readers import find_inputs
from encoder.shard import Tokens
from encoder.stores.address import Address
from encoder.stores.object_path import ObjectPath
from encoder.stores.object_store import ObjectStore
from encoder.stores.tree import Tree

ROOT = Address("s3", "bucket", "acts")
BLOCK_BYTES = 4096


class Bucket:
    """Objects in memory, as a tree of small blocks. What is asked of the store is counted."""

    def __init__(self) -> None:
        self.client = MemoryStore()
        self.store = ObjectStore(Address("s3", "bucket", ""), self.client)
        self.n_read = 0
        read = self.store.read

        def counting(key: str, start: int = 0, stop: int | None = None, *, etag: str | None = None) -> bytes:
            data = read(key, start, stop, etag=etag)
            self.n_read += len(data)
            return data

        self.store.read = counting  # type: ignore[method-assign]

    def upload(self, folder: Path) -> ObjectPath:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.client.put(f"acts/{path.relative_to(folder).as_posix()}", path.read_bytes())
        return self.path

    @property
    def path(self) -> ObjectPath:
        return ObjectPath(ROOT, Tree(self.store, BLOCK_BYTES))


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    gc.collect()
    assert list(folder.iterdir()) == []


def same_tokens(one: Tokens, other: Tokens) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in [f.name for f in fields(Tokens)])


ROWS = random((150, 16), torch.float32)


def hdf5(folder: Path, acts: torch.Tensor) -> Made:
    import h5py

    with h5py.File(folder / "acts.h5", "w") as file:
        file["blocks.3.hook_resid_post"] = ROWS.numpy()
    return Made(folder / "acts.h5", ROWS)


def zarr_v3(folder: Path, acts: torch.Tensor) -> Made:
    import zarr

    zarr.create_array(str(folder / "acts.zarr"), shape=(150, 16), chunks=(40, 16), dtype="f4")[:] = ROWS.numpy()
    return Made(folder / "acts.zarr", ROWS)


def parquet(folder: Path, acts: torch.Tensor) -> Made:
    import pyarrow as pa
    from pyarrow import parquet as pq

    pq.write_table(pa.table({"activation": ROWS.tolist(), "token_id": list(range(150))}), folder / "acts.parquet")
    return Made(folder / "acts.parquet", ROWS)


def feather(folder: Path, acts: torch.Tensor) -> Made:
    import pyarrow as pa
    from pyarrow import feather as ft

    ft.write_feather(pa.table({"activation": ROWS.tolist()}), folder / "acts.feather", compression="uncompressed")
    return Made(folder / "acts.feather", ROWS)


def packed(folder: Path, name: str, pack: Callable[[bytes], bytes]) -> Made:
    np.save(folder / "acts.npy", ROWS.numpy())
    (folder / name).write_bytes(pack((folder / "acts.npy").read_bytes()))
    (folder / "acts.npy").unlink()
    return Made(folder / name, ROWS)


def gz(folder: Path, acts: torch.Tensor) -> Made:
    return packed(folder, "acts.npy.gz", gzip.compress)


def zst(folder: Path, acts: torch.Tensor) -> Made:
    return packed(folder, "acts.npy.zst", zstandard.compress)


def tar(folder: Path, acts: torch.Tensor) -> Made:
    np.save(folder / "acts.npy", ROWS.numpy())
    with tarfile.open(folder / "acts.tar", "w") as archive:
        archive.add(folder / "acts.npy", "acts.npy")
    (folder / "acts.npy").unlink()
    return Made(folder / "acts.tar", ROWS)


def raw(folder: Path, acts: torch.Tensor) -> Made:
    ROWS.numpy().tofile(folder / "acts.dat")
    (folder / "acts.json").write_text('{"shape": [150, 16], "dtype": "float32"}')
    return Made(folder / "acts.dat", ROWS)


def beside(folder: Path, acts: torch.Tensor) -> Made:
    np.save(folder / "acts.npy", ROWS.numpy())
    np.save(folder / "acts_input_ids.npy", np.arange(150))
    np.save(folder / "acts_attention_mask.npy", np.arange(150) > 3)
    return Made(folder / "acts.npy", ROWS)


def torch_of_before(folder: Path, acts: torch.Tensor) -> Made:
    torch.save(ROWS, folder / "acts.pt", _use_new_zipfile_serialization=False)
    return Made(folder / "acts.pt", ROWS)


OWN = (hdf5, zarr_v3, parquet, feather, gz, zst, tar, raw, beside, torch_of_before)
BY_SCRATCH = {hdf5, zarr_v3, feather}


@pytest.mark.parametrize("make", (*shards.MAKERS, *OWN), ids=lambda make: make.__name__)
def test_a_shard_at_an_address_has_the_rows_and_tokens_that_it_has_on_disk(
    make: Callable[[Path, torch.Tensor], Made], bucket: Bucket, tmp_path: Path, scratch: Path
) -> None:
    folder = tmp_path / "acts"
    folder.mkdir()
    one = make(folder, random((5, 30, 16), torch.float32))
    root = bucket.upload(folder)
    path = root / one.path.relative_to(folder).as_posix()
    local = open_one(one.path, one.rows.shape[1], one.select, root=folder)
    shard = open_one(path, one.rows.shape[1], one.select, root=root)
    assert same_bits(whole(shard), whole(local)) and same_bits(shard.read(3, 90), local.read(3, 90))
    assert same_tokens(shard.tokens(), local.tokens())
    assert (shard.n_rows, shard.d_in, shard.dtype, shard.hook_name) == (
        local.n_rows, local.d_in, local.dtype, local.hook_name,
    )  # fmt: skip
    assert any("scratch file" in note for note in shard.notes) == (make in BY_SCRATCH), shard.notes
    assert str(shard.path) == str(path) and str(path).startswith("s3://bucket/acts/")


def test_a_folder_of_everything_is_listed_as_on_disk(bucket: Bucket, tmp_path: Path) -> None:
    folder = tmp_path / "acts"
    for make in (*shards.MAKERS, *OWN):
        below = folder / make.__name__
        below.mkdir(parents=True)
        make(below, random((5, 30, 16), torch.float32))
    (folder / "README.md").write_text("for people")
    (folder / "what.xyz").write_text("for nobody")
    (folder / ".hidden").write_text("x")
    here: list[Path] = []
    there: list[Path] = []
    local = find_inputs(folder, unread=here.append)
    root = bucket.upload(folder)
    remote = find_inputs(root, unread=there.append)
    assert [path.relative_to(root) for path in remote] == [path.relative_to(folder) for path in local]
    assert sorted(path.name for path in there) == sorted(path.name for path in here) != []
    assert len(local) > 20


def dataset(folder: Path, n_batches: int, n_contexts: int) -> Path:
    """Write a stream of record batches: contexts of 8 tokens, 32 wide, with their ids."""
    import pyarrow as pa

    path, rows, ids = folder / "data-00000-of-00001.arrow", pa.list_(pa.list_(pa.float32())), pa.list_(pa.int64())
    schema = pa.schema([("blocks.3.hook_resid_post", rows), ("input_ids", ids)])
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as stream:
        for seed in range(n_batches):
            acts = pa.array(random((n_contexts, 8, 32), torch.float32, seed).tolist(), rows)
            numbers = pa.array(np.arange(n_contexts * 8).reshape(n_contexts, 8).tolist(), ids)
            stream.write_batch(pa.record_batch([acts, numbers], schema=schema))
    return path


@pytest.mark.parametrize(("n_batches", "is_by_ranges"), [(0, True), (3, True), (40, False)])
def test_an_arrow_stream_of_few_batches_is_read_by_ranges_and_one_of_many_through_scratch(
    bucket: Bucket, tmp_path: Path, scratch: Path, n_batches: int, is_by_ranges: bool
) -> None:
    folder = tmp_path / "acts"
    folder.mkdir()
    path = dataset(folder, n_batches, 2000 // max(1, n_batches))
    local, shard = open_one(path, 32), open_one(bucket.upload(folder) / path.name, 32)
    assert bucket.n_read < path.stat().st_size / 2 or not is_by_ranges or not n_batches
    assert same_bits(whole(shard), whole(local)) and same_tokens(shard.tokens(), local.tokens())
    assert any("scratch file" in note for note in shard.notes) != is_by_ranges


def test_an_arrow_stream_that_is_cut_or_damaged_is_refused_as_on_disk(bucket: Bucket, tmp_path: Path) -> None:
    folder = tmp_path / "acts"
    folder.mkdir()
    path = dataset(folder, 2, 50)
    good, chance = path.read_bytes(), np.random.default_rng(0)
    damaged = [good[: len(good) * part // 7] for part in range(1, 7)]
    for _ in range(60):  # in the metadata, where a wrong number is a wrong place
        at = int(chance.integers(8, 700))
        damaged.append(good[:at] + bytes([int(chance.integers(256))]) + good[at + 1 :])
    n_refused = 0
    for data in damaged:
        path.write_bytes(data)
        told = []
        for one in (path, bucket.upload(folder) / path.name):
            try:
                told.append(whole(open_one(one, 32)).tolist())
            except ShardError as exc:
                told.append(type(exc))
                n_refused += 1
        assert told[0] == told[1]
    assert n_refused > 12


def test_rows_of_one_layer_between_others_cost_a_reading_of_the_file_and_no_more(
    bucket: Bucket, tmp_path: Path, scratch: Path
) -> None:
    folder = tmp_path / "acts"
    folder.mkdir()
    acts = random((300, 6, 16), torch.float32)
    np.save(folder / "acts.npy", acts.numpy())
    path = bucket.upload(folder) / "acts.npy"
    shard = open_one(path, 16, {"axes": "token,layer,d", "layer": "2"})
    rows = torch.cat([shard.read(at, at + 50) for at in range(0, 300, 50)])
    assert same_bits(rows, acts[:, 2]) and list(scratch.iterdir()) == []
    assert bucket.n_read < 1.5 * (folder / "acts.npy").stat().st_size + (1 << 17)


def test_a_shard_that_is_written_again_while_it_is_read_is_refused(bucket: Bucket, tmp_path: Path) -> None:
    folder = tmp_path / "acts"
    folder.mkdir()
    shards.npy(folder, random((5, 3000, 16), torch.float32))
    path = bucket.upload(folder) / "acts.npy"
    shard = open_one(path, 16)
    shard.read(0, 10)
    bucket.client.put("acts/acts.npy", bytes(960_000 + 128))
    with pytest.raises(ChangingError, match=r"s3://bucket/acts/acts.npy: changed while it was read"):
        shard.read(1000, 14_000)


def test_what_needs_scratch_and_does_not_fit_is_refused_with_both_numbers(
    bucket: Bucket, tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "acts"
    folder.mkdir()
    hdf5(folder, ROWS)
    path = bucket.upload(folder) / "acts.h5"
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(1 << 40, 0, (1 << 29) + 1000))
    size = (folder / "acts.h5").stat().st_size
    with pytest.raises(ShardError, match=rf"s3://bucket/acts/acts.h5: .*{size:,} bytes do not fit into the 1,000"):
        open_one(path, 16)


def test_what_is_wrong_with_a_shard_in_scratch_is_told_of_its_address(bucket: Bucket, tmp_path: Path) -> None:
    folder = tmp_path / "acts" / "deep"
    folder.mkdir(parents=True)
    hdf5(folder, ROWS)
    root = bucket.upload(folder.parent)
    with pytest.raises(ShardError, match=r"^s3://bucket/acts/deep/acts.h5: ") as caught:
        open_one(root / "deep" / "acts.h5", 99, root=root)
    assert "saefetch-scratch" not in str(caught.value)


def test_an_address_is_never_taken_for_a_file_of_the_current_folder(bucket: Bucket) -> None:
    with pytest.raises(InputError, match="an address, and this works with paths of this machine only"):
        open(bucket.path / "a.npy")  # noqa: PTH123, SIM115 - what another library does
    with pytest.raises(InputError, match="writes to paths of this machine only"):
        (bucket.path / "a.npy").write_bytes(b"")
