"""A zarr folder gives the rows that zarr reads; chunks that are missing, and codecs that run code, are refused."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import encoding
import numcodecs
import numpy as np
import pytest
import torch
import zarr
from encoding import Command, Site
from shards import open_one, random, same_bits, whole

from encoder.errors import ShardError
from encoder.readers import find_inputs
from saefetch.files.digest import sha256_of, status_of

ROWS = random((50, 8), torch.float32)
LAYOUTS: dict[str, dict[str, Any]] = {
    "v2": {"zarr_format": 2, "chunks": (7, 8)},
    "v2, Fortran order, slashes": {"zarr_format": 2, "chunks": (7, 3), "order": "F"},
    "v2, blosc": {"zarr_format": 2, "compressors": numcodecs.Blosc(cname="lz4", shuffle=1)},
    "v2, filters": {"zarr_format": 2, "filters": [numcodecs.Shuffle(4)], "compressors": numcodecs.GZip()},
    "v3": {"chunks": (7, 8)},
    "v3, whole": {"chunks": (50, 8), "compressors": None},
    "v3, blosc": {"compressors": zarr.codecs.BloscCodec(cname="zstd"), "chunks": (9, 5)},
    "v3, gzip, checked": {"compressors": [zarr.codecs.GzipCodec(), zarr.codecs.Crc32cCodec()]},
    "v3, shards": {"chunks": (5, 8), "shards": (25, 8)},
}


def stored(folder: Path, data: np.ndarray | None = None, **options: Any) -> Path:
    zarr.create_array(store=str(folder), data=ROWS.numpy() if data is None else data, **options)
    return folder


@pytest.mark.parametrize("options", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_rows_of_any_layout_are_those_that_zarr_reads(tmp_path: Path, options: dict[str, Any]) -> None:
    folder = stored(tmp_path / "acts.zarr", **options)
    shard = open_one(folder, 8)
    truth = torch.from_numpy(zarr.open_array(str(folder), mode="r")[:]).contiguous()
    assert same_bits(whole(shard), truth) and same_bits(truth, ROWS)
    for start, stop in ((49, 50), (0, 1), (5, 23), (14, 15), (50, 50)):
        assert same_bits(shard.read(start, stop), ROWS[start:stop])


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("dtype", ["<f2", ">f2", ">f4", "<f8"])
def test_every_float_of_either_byte_order_is_read(tmp_path: Path, dtype: str, zarr_format: int) -> None:
    x = ROWS.numpy().astype(dtype)
    read = whole(open_one(stored(tmp_path / "a.zarr", x, zarr_format=zarr_format), 8))
    assert np.array_equal(read.numpy(), x.astype("f4" if dtype == "<f8" else f"<{dtype[1:]}"))


def test_a_group_gives_its_arrays_by_name_with_token_ids(tmp_path: Path) -> None:
    for zarr_format in (2, 3):
        folder = tmp_path / f"{zarr_format}.zarr"
        group = zarr.open_group(str(folder), mode="w", zarr_format=zarr_format)
        x = ROWS.reshape(5, 10, 8).numpy()
        group.create_array("acts/blocks.3.hook_resid_post", data=x, chunks=(2, 4, 8))
        group.create_array("acts/blocks.4.hook_resid_post", data=x * 2)
        group.create_array("token_ids", data=np.arange(50, dtype="u4").reshape(5, 10))
        shard = open_one(folder, 8, hook_name="blocks.3.hook_resid_post")
        ids = shard.tokens().token_ids
        assert same_bits(whole(shard), ROWS) and same_bits(shard.read(7, 33), ROWS[7:33])
        assert ids is not None and ids.tolist() == list(range(50))
        assert find_inputs(folder) == find_inputs(tmp_path)[-1:] == [folder]


@pytest.mark.parametrize("options", [LAYOUTS["v2"], LAYOUTS["v3"], LAYOUTS["v3, shards"]])
def test_chunks_that_are_missing_are_not_taken_for_zeros(tmp_path: Path, options: dict[str, Any]) -> None:
    folder = stored(tmp_path / "a.zarr", **options)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    chunks = [path for path in files if path.name != "zarr.json" and path.name[0] != "."]
    chunks[-1].unlink()
    n = len(chunks)
    with pytest.raises(ShardError, match=f"has {n - 1} of its {n} chunks"):
        open_one(folder, 8)
    (folder / "stray").write_bytes(b"")  # as many files as chunks, and one of them none
    shard = open_one(folder, 8)
    with pytest.raises(ShardError, match="was never written"):
        whole(shard)


def test_a_part_of_a_shard_that_was_never_written_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "a.zarr"
    array = zarr.create_array(store=str(folder), shape=(50, 8), dtype="f4", chunks=(5, 8), shards=(25, 8))
    array[:35] = ROWS[:35].numpy()
    shard = open_one(folder, 8)
    assert same_bits(shard.read(3, 35), ROWS[3:35])
    with pytest.raises(ShardError, match=r"row 35 .* was never written"):
        shard.read(30, 40)


class Runs:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.path,)


def test_a_codec_that_runs_code_is_refused_before_anything_is_decoded(tmp_path: Path) -> None:
    proof, folder = tmp_path / "executed", stored(tmp_path / "a.zarr", zarr_format=2, chunks=(50, 8), compressors=None)
    (folder / "0.0").write_bytes(pickle.dumps(Runs(proof)))
    metadata = json.loads((folder / ".zarray").read_text())
    for changes in ({"compressor": {"id": "pickle"}}, {"filters": [{"id": "pickle"}]}, {"filters": ["pickle"]}):
        (folder / ".zarray").write_text(json.dumps(metadata | changes))
        with pytest.raises(ShardError, match="codec 'pickle'"):
            open_one(folder, 8)
    assert not proof.exists()
    folder = stored(tmp_path / "b.zarr", shards=(50, 8), chunks=(50, 8))
    metadata = json.loads((folder / "zarr.json").read_text())
    metadata["codecs"][0]["configuration"]["codecs"] = [{"name": "numcodecs.pickle", "configuration": {}}]
    (folder / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(ShardError, match=r"codec 'numcodecs\.pickle'"):
        open_one(folder, 8)


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": [1 << 40, 8]},
        {"shape": [1 << 62, 1 << 62]},
        {"shape": [-1, 8]},
        {"shape": [50, 9]},
        {"shape": "50,8"},
        {"data_type": "float64"},
        {"data_type": "nonsense"},
        {"codecs": []},
        {"codecs": 7},
        {"codecs": [{"name": "bytes", "configuration": {"endian": "middle"}}]},
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [0, 8]}}},
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1 << 40, 8]}}},
        {"chunk_grid": {"name": "spiral"}},
        {"node_type": "tree"},
        {"zarr_format": 9},
        {"storage_transformers": [{"name": "x"}]},
        {"attributes": {"scale_factor": 0.5}},
    ],
)
def test_metadata_that_lies_is_refused_in_one_line(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = stored(tmp_path / "a.zarr", chunks=(50, 8))
    metadata = json.loads((folder / "zarr.json").read_text())
    (folder / "zarr.json").write_text(json.dumps(metadata | changes))
    with pytest.raises(ShardError) as caught:
        whole(open_one(folder, 8))
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_damaged_chunks_and_damaged_json_are_refused(tmp_path: Path) -> None:
    folder = stored(tmp_path / "a.zarr", chunks=(10, 8))
    (folder / "c" / "2" / "0").write_bytes(b"1234")
    shard = open_one(folder, 8)
    assert same_bits(shard.read(0, 20), ROWS[:20])
    with pytest.raises(ShardError, match="cannot be decoded"):
        shard.read(20, 30)
    (folder / "zarr.json").write_text("{")
    with pytest.raises(ShardError, match="not valid JSON"):
        open_one(folder, 8)
    (folder / "zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "group"}))
    with pytest.raises(ShardError, match="no array of numbers"):
        open_one(folder, 8)
    (folder / ".zarray").write_text("{}")
    with pytest.raises(ShardError, match="of version 2 and of version 3"):
        open_one(folder, 8)


def test_zarr_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = stored(tmp_path / "a.zarr")
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(ShardError, match=r"a\.zarr: needs zarr: pip install 'saefetch\[zarr\]'"):
        open_one(folder, 8)


def test_a_store_is_one_shard_is_skipped_where_it_is_finished_and_not_where_it_changed(
    site: Site, encode: Command
) -> None:
    rows = encoding.planted(40, site.weights)
    folder = stored(site.acts / "blocks.2.zarr", rows.numpy(), chunks=(10, 48))
    np.save(site.acts / "plain.npy", rows.numpy())
    run = ("run", site.acts, "--out", site.out, "--sae-path", site.params, "--quiet")
    assert encode(*run).status == 0
    features = encoding.read(site.out / "blocks.2.npz")
    assert (features != encoding.read(site.out / "plain.npz")).nnz == 0 < features.nnz
    meta = encoding.meta(site.out / "blocks.2.npz")
    assert meta["shard_sha256"] == sha256_of(folder) and meta["shard_size"] == status_of(folder).st_size
    assert encode(*run, "--json").document["skipped"] == 2
    encode("run", folder, "--out", site.folder / "alone", "--sae-path", site.params, "--quiet")
    assert (site.folder / "alone" / "blocks.2.npz").exists()
    zarr.open_array(str(folder), mode="r+")[:10] = rows[10:20].numpy()
    again = encode(*run, "--json").document
    assert (again["skipped"], again["done"]) == (1, 1), again
    changed = encoding.read(site.out / "blocks.2.npz")
    assert (changed[:10] != changed[10:20]).nnz == 0 and (changed != features).nnz > 0
