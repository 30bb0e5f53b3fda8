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
    assert len(list(scratch.iterdir())) == (maker != "npy"), "the rows of an .npy come out of the stream"
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
    torch.save(ROWS, tmp_path / "a.pt")
    path = pack(tmp_path / "a.pt", "gz")
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
    torch.save(ROWS, tmp_path / "a.pt")
    shard = open_one(pack(tmp_path / "a.pt", "gz"), 8)
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


@pytest.mark.parametrize("ending", PACKERS)
def test_rows_out_of_the_stream_are_the_same_in_any_order_and_of_any_dtype(tmp_path: Path, ending: str) -> None:
    rows = random((50_000, 8), torch.float32)  # more than one piece
    for dtype in ("<f4", ">f4", "<f2"):
        np.save(tmp_path / "a.npy", rows.numpy().astype(dtype))
        shard = open_one(pack(tmp_path / "a.npy", ending), 8)
        expected = rows.half() if dtype == "<f2" else rows
        for start, stop in ((0, 10), (49_000, 50_000), (5, 40_000), (49_999, 50_000), (0, 0)):
            assert same_bits(shard.read(start, stop), expected[start:stop])


def test_an_npy_that_does_not_lie_in_order_is_unpacked_first(tmp_path: Path, scratch: Path) -> None:
    np.save(tmp_path / "a.npy", np.asfortranarray(ROWS.numpy()))
    shard = open_one(pack(tmp_path / "a.npy", "gz"), 8)
    assert same_bits(whole(shard), ROWS) and len(list(scratch.iterdir())) == 1
    np.save(tmp_path / "b.npy", ROWS.numpy().reshape(3, 20, 8))
    shard = open_one(pack(tmp_path / "b.npy", "gz"), 8, {"axes": "layer,token,d", "layer": "1"})
    assert same_bits(whole(shard), ROWS[20:40]) and len(list(scratch.iterdir())) == 1


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_what_is_wrong_at_the_end_of_a_stream_is_found_with_its_last_row(tmp_path: Path, ending: str) -> None:
    rows = random((50_000, 8), torch.float32)
    np.save(tmp_path / "a.npy", rows.numpy())
    plain = (tmp_path / "a.npy").read_bytes()
    packed = PACKERS[ending](plain)
    path = tmp_path / f"a.npy.{ending}"
    for content, words in (
        (packed[:-2], "cannot be unpacked"),
        (packed[: len(packed) // 2], "cannot be unpacked"),
        (PACKERS[ending](plain[:-4]), r"it ends after 1,600,124 bytes, expected 1,600,128"),
        (PACKERS[ending](plain + b"1"), "more are packed: a false header"),
    ):
        path.write_bytes(content)
        with pytest.raises(ShardError, match=words) as caught:
            shard = open_one(path, 8)
            shard.read(0, 40_000), shard.read(40_000, 50_000)
        assert str(caught.value).startswith(f"{path}: ") and str(caught.value).count(f".{ending}") == 1


def test_a_header_that_claims_more_than_can_be_packed_is_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ROWS.numpy())
    content = (tmp_path / "a.npy").read_bytes().replace(b"(60, 8), }" + b" " * 16, b"(99999999999999, 8), }" + b" " * 4)
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ShardError, match="claim to hold 3,2"):
        open_one(pack(tmp_path / "a.npy", "gz"), 8)


MASK = np.array([1] * 57 + [0] * 3)


@pytest.mark.parametrize("name", ["acts_attention_mask", "attention_mask", "acts.mask"])
@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("suffix", ["npy", "pt"])
def test_a_packed_file_has_the_mask_beside_it(tmp_path: Path, name: str, is_packed: bool, suffix: str) -> None:
    for one, array in (("acts", ROWS), (name, torch.from_numpy(MASK))):
        path = tmp_path / f"{one}.{suffix}"
        np.save(path, array.numpy()) if suffix == "npy" else torch.save(array, path)
        if one == "acts" or is_packed:
            pack(path, "gz")
    if suffix == "npy":
        assert find_inputs(tmp_path) == [tmp_path / "acts.npy.gz"]
    mask = open_one(tmp_path / f"acts.{suffix}.gz", 8).tokens().row_mask
    assert mask is not None and mask.tolist() == MASK.astype(bool).tolist()


def test_a_mask_that_is_packed_is_read_with_a_file_that_is_not(tmp_path: Path) -> None:
    np.save(tmp_path / "acts.npy", ROWS.numpy())
    np.save(tmp_path / "acts_attention_mask.npy", MASK)
    pack(tmp_path / "acts_attention_mask.npy", "zst")
    assert find_inputs(tmp_path) == [tmp_path / "acts.npy"]
    mask = open_one(tmp_path / "acts.npy", 8).tokens().row_mask
    assert mask is not None and mask.tolist() == MASK.astype(bool).tolist()
