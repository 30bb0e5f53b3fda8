"""gzip and zstd around any file: the same rows as unpacked, in bounded scratch that is gone afterwards."""

from __future__ import annotations

import bz2
import fcntl
import gc
import gzip
import os
import shutil
import tempfile
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import encoding
import h5py
import numpy as np
import pyarrow as pa
import pytest
import shards
import torch
import zstandard
from encoding import Command, Site
from pyarrow import parquet
from shards import open_one, random, same_bits, whole

from encoder.errors import ShardError
from encoder.machine.scratch import PREFIX
from encoder.readers import find_inputs, parse_select

ROWS = random((60, 8), torch.float32)
Pack = Callable[[bytes], bytes]


def zstd_stream(content: bytes) -> bytes:
    """Pack as a program does that does not know the size beforehand."""
    packer = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    return packer.compress(content) + packer.flush()


PACKERS: dict[str, Pack] = {
    "gz": gzip.compress,
    "zst": zstandard.ZstdCompressor(write_checksum=True).compress,
    "zstd": zstd_stream,
    "gzip": lambda content: gzip.compress(content[:100]) + gzip.compress(content[100:]),
}


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def pack(path: Path, ending: str, packer: Pack | None = None) -> Path:
    target = path.with_name(f"{path.name}.{ending}")
    target.write_bytes((packer or PACKERS[ending])(path.read_bytes()))
    path.unlink()
    return target


@pytest.mark.parametrize("ending", PACKERS)
@pytest.mark.parametrize("maker", ["npy", "npz_compressed", "safetensors", "torch_tensor", "sae_bench"])
def test_the_rows_and_tokens_are_those_of_the_file_inside(
    tmp_path: Path, scratch: Path, ending: str, maker: str
) -> None:
    made = {one.__name__: one for one in shards.MAKERS}[maker](tmp_path, ROWS.reshape(2, 3, 10, 8)[0])
    path = pack(made.path, ending)
    assert path in find_inputs(tmp_path)
    shard = open_one(path, 8, made.select)
    assert shard.path == path and same_bits(whole(shard), made.rows) and same_bits(shard.read(7, 9), made.rows[7:9])
    tokens = shard.tokens()
    for name in ("token_ids", "row_document", "row_mask"):
        assert shards.listed(getattr(tokens, name)) == getattr(made, name), name
    assert len(list(scratch.iterdir())) == 1
    del shard, tokens
    gc.collect()
    assert list(scratch.iterdir()) == []


def test_hdf5_parquet_and_headerless_files_are_unpacked_too(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["acts"] = ROWS.numpy()
    parquet.write_table(pa.table({"acts": pa.array(ROWS.tolist(), pa.list_(pa.float32()))}), tmp_path / "b.parquet")
    (tmp_path / "c.dat").write_bytes(ROWS.numpy().tobytes())
    (tmp_path / "c.json").write_text('{"dtype": "float32", "shape": [60, 8]}')
    paths = [pack(tmp_path / name, "gz") for name in ("a.h5", "b.parquet", "c.dat")]
    assert find_inputs(tmp_path) == paths
    for path in paths:
        assert same_bits(whole(open_one(path, 8)), ROWS)
    (tmp_path / "c.json").unlink()
    assert same_bits(whole(open_one(paths[2], 8, parse_select(None, None, "float32"))), ROWS)


def test_the_hook_of_the_folder_or_the_name_is_the_packed_files_own(tmp_path: Path) -> None:
    for name in ("layer_3/0001.npy", "blocks.3.hook_resid_post.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / name, ROWS.numpy())
        plain = open_one(tmp_path / name).hook_name
        assert plain and open_one(pack(tmp_path / name, "gz")).hook_name == plain


@pytest.mark.parametrize("ending", PACKERS)
def test_a_cut_or_damaged_file_is_refused_and_leaves_nothing(tmp_path: Path, scratch: Path, ending: str) -> None:
    np.save(tmp_path / "a.npy", ROWS.numpy())
    path = pack(tmp_path / "a.npy", ending)
    content = path.read_bytes()
    damaged = bytearray(content)
    damaged[len(content) // 2] ^= 255
    for bad in (content[:-1], content[:-9], content[: len(content) // 2], content[:6], content + b"garbage!", damaged):
        if ending == "zstd" and bad is damaged:
            continue  # without a checksum, one byte of stored numbers is as good as another
        path.write_bytes(bad)
        with pytest.raises(ShardError, match="cannot be unpacked") as caught:
            open_one(path, 8)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert list(scratch.iterdir()) == []


def test_what_is_wrong_inside_is_told_of_the_packed_file(tmp_path: Path, scratch: Path) -> None:
    np.save(tmp_path / "a.npy", ROWS.numpy().astype(np.int64))
    path = pack(tmp_path / "a.npy", "gz")
    with pytest.raises(ShardError, match="not integers") as caught:
        open_one(path, 8)
    assert str(caught.value).startswith(f"{path}: ") and "scratch" not in str(caught.value)
    np.save(tmp_path / "b.npy", ROWS.numpy())
    with pytest.raises(ShardError, match="packed twice"):
        open_one(pack(pack(tmp_path / "b.npy", "gz"), "gz"), 8)
    del caught  # with the frames of its traceback
    gc.collect()
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_a_bomb_is_given_up_in_bounded_scratch(tmp_path: Path, scratch: Path, ending: str) -> None:
    path = tmp_path / f"a.npy.{ending}"
    with path.open("wb") as file:
        packer = zstandard.ZstdCompressor().compressobj() if ending == "zst" else None
        if packer is None:
            with gzip.open(file, "wb", compresslevel=9) as out:
                for _ in range(300):
                    out.write(bytes(1 << 20))
        else:
            for _ in range(300):
                file.write(packer.compress(bytes(1 << 20)))
            file.write(packer.flush())
    with pytest.raises(ShardError, match=r"unpacks from .* which activations do not"):
        open_one(path, 8)
    assert list(scratch.iterdir()) == []


def test_a_full_disk_is_said_with_what_to_do(tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "a.npy", ROWS.numpy())
    path = pack(tmp_path / "a.npy", "gz")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(1 << 40, 0, 1 << 20))
    with pytest.raises(ShardError, match="set TMPDIR"):
        open_one(path, 8)
    assert list(scratch.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_holds_is_kept(
    tmp_path: Path, scratch: Path
) -> None:
    held, left = scratch / f"{PREFIX}held", scratch / f"{PREFIX}left"
    for folder in (held, left):
        folder.mkdir()
        (folder / "acts.npy").write_bytes(b"1")
        (folder / ".lock").write_bytes(b"")
    lock = os.open(held / ".lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    np.save(tmp_path / "a.npy", ROWS.numpy())
    shard = open_one(pack(tmp_path / "a.npy", "gz"), 8)
    assert held.exists() and not left.exists() and same_bits(whole(shard), ROWS)
    os.close(lock)


def test_only_what_holds_data_by_its_name_is_unpacked_and_an_unpacked_one_comes_first(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ROWS.numpy())
    (tmp_path / "a.npy.gz").write_bytes(gzip.compress((tmp_path / "a.npy").read_bytes()))
    for name in ("prompts.jsonl.gz", "x.gz", "y.bin.gz"):
        (tmp_path / name).write_bytes(gzip.compress(b"1"))
    (tmp_path / "z.npy.bz2").write_bytes(bz2.compress(b"1"))
    unread: list[Path] = []
    assert find_inputs(tmp_path, unread=unread.append) == [tmp_path / "a.npy"]
    assert {path.name for path in unread} == {"a.npy.gz", "prompts.jsonl.gz", "x.gz", "y.bin.gz", "z.npy.bz2"}


def test_the_command_names_the_result_without_both_endings_and_keeps_the_packed_files_identity(
    site: Site, encode: Command
) -> None:
    rows = encoding.planted(40, site.weights)
    np.save(site.acts / "plain.npy", rows.numpy())
    np.save(site.acts / "a.npy", rows.numpy())
    path = pack(site.acts / "a.npy", "zst")
    run = ("run", site.acts, "--out", site.out, "--sae-path", site.params, "--quiet")
    assert encode(*run).status == 0
    features = encoding.read(site.out / "a.npz")
    assert (features != encoding.read(site.out / "plain.npz")).nnz == 0 < features.nnz
    meta = encoding.meta(site.out / "a.npz")
    assert (meta["shard_path"], meta["shard_size"]) == (str(path), path.stat().st_size)
    assert encode(*run, "--json").document["skipped"] == 2
