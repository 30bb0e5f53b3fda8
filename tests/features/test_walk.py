"""Which files of a folder are data, and in which order."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import shards
import torch
from shards import open_one

from encoder.errors import InputError, ShardError
from encoder.readers import find_inputs
from encoder.work.submit import why_not_read


def names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_inputs(folder)]


def test_a_folder_is_walked_in_natural_order_without_hidden_and_foreign_files(tmp_path: Path) -> None:
    acts = np.zeros((2, 3), np.float32)
    for name in ("a_10.npy", "a_2.npy", "sub/b.npy", ".hidden/c.npy", "sub/.d.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / name, acts)
    torch.save(torch.zeros(2, 3), tmp_path / "odd-name.acts")
    for name in ("README.md", "config.json", "sub/x.h5", "x.bin"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 text")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "sub" / "self").symlink_to(tmp_path / "sub" / "self")
    os.mkfifo(tmp_path / "sub" / "fifo")
    assert names(tmp_path) == ["a_2.npy", "a_10.npy", "odd-name.acts", "sub/b.npy"]
    unread: list[Path] = []
    find_inputs(tmp_path, unread=unread.append)
    assert unread == [*(tmp_path / "sub" / name for name in ("fifo", "self", "x.h5")), tmp_path / "x.bin"]
    assert find_inputs(tmp_path / "README.md") == [tmp_path / "README.md"]
    (tmp_path / "empty").mkdir()
    assert find_inputs(tmp_path / "empty") == []
    with pytest.raises(InputError, match="no such file"):
        find_inputs(tmp_path / "nothing")
    (tmp_path / "d").joinpath(*"e" * 100).mkdir(parents=True)
    too_deep = find_inputs(tmp_path)[2]
    assert len(too_deep.relative_to(tmp_path).parts) == 65
    with pytest.raises(ShardError, match="too deep below INPUT"):
        open_one(too_deep)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list any folder")
def test_a_folder_that_cannot_be_listed_stops_no_other(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 3), np.float32))
    (tmp_path / "closed").mkdir(mode=0)
    assert names(tmp_path) == ["a.npy", "closed"]
    with pytest.raises(ShardError, match="closed: a folder that cannot be listed"):
        open_one(tmp_path / "closed")
    with pytest.raises(InputError, match="closed: cannot be listed"):
        find_inputs(tmp_path / "closed")


def test_folder_formats_list_their_own_files_in_their_own_order(tmp_path: Path) -> None:
    acts = shards.random((2, 3, 4), torch.float32)
    shards.memmap(tmp_path, acts)
    store = tmp_path / "store" / "model.layers.3_out"
    for suffix in ("memmap", "meta"):
        (store / f"shard_10.{suffix}").write_bytes((store / f"shard_1.{suffix}").read_bytes())
    assert names(tmp_path / "store") == [f"model.layers.3_out/shard_{i}.memmap" for i in (0, 1, 10)]

    hook = shards.language_model_saes(tmp_path, acts).path.parent
    for name in ("shard-10-chunk-00000000", "shard-2-chunk-00000001", "chunk-00000002"):
        (hook / f"{name}.safetensors").write_bytes((hook / "shard-1-chunk-00000012.safetensors").read_bytes())
    (hook / "other.safetensors").write_bytes(b"")
    order = ["chunk-00000002", "shard-1-chunk-00000012", "shard-2-chunk-00000001", "shard-10-chunk-00000000"]
    assert names(hook) == [f"{name}.safetensors" for name in order]

    upload = shards.activault(tmp_path, acts).path
    (upload.parent / f"{shards.UUID}--12_0.saved.pt").write_bytes(upload.read_bytes())
    (upload.parent / "mean.pt").write_bytes(b"")
    assert names(upload.parent) == [f"{shards.UUID}--3_0.saved.pt", f"{shards.UUID}--12_0.saved.pt"]

    saev = shards.saev(tmp_path, acts).path.parent
    (saev / "acts000001.bin").write_bytes(b"")
    index = [{"name": "acts000001.bin", "n_examples": 0}, {"name": "acts000000.bin", "n_examples": 2}]
    (saev / "shards.json").write_text(json.dumps(index))
    assert names(saev) == ["acts000001.bin", "acts000000.bin"]

    dataset = shards.arrow(tmp_path, acts).path.parent
    (dataset / "cache-0123.arrow").write_bytes((dataset / "data-00000-of-00001.arrow").read_bytes())
    assert names(dataset) == ["data-00000-of-00001.arrow"]
    assert len(names(tmp_path)) == 3 + 4 + 2 + 2 + 1


@pytest.mark.parametrize("listed_name", ["data-00009.arrow", "../secret.arrow", "/etc/passwd", 7, None])
def test_an_index_that_names_a_missing_or_foreign_file_fails_alone(tmp_path: Path, listed_name: object) -> None:
    (tmp_path / "secret.arrow").write_bytes(b"")
    dataset = shards.arrow(tmp_path, shards.random((2, 3, 4), torch.float32)).path
    files = [{"filename": dataset.name}, {"filename": listed_name}]
    (dataset.parent / "state.json").write_text(json.dumps({"_data_files": files}))
    good, bad = find_inputs(dataset.parent)
    assert good == dataset and open_one(good, 4).n_rows == 6
    with pytest.raises(ShardError, match=r"no such file|expected an \.arrow file in this folder"):
        open_one(bad, 4)
    saev = shards.saev(tmp_path, shards.random((2, 3, 4), torch.float32))
    index = [{"name": saev.path.name, "n_examples": 2}, {"name": listed_name, "n_examples": 1}]
    (saev.path.parent / "shards.json").write_text(json.dumps(index))
    good, bad = find_inputs(saev.path.parent)
    assert good == saev.path and open_one(good, 4, saev.select).n_rows == 6
    with pytest.raises(ShardError, match=r"expected acts000000\.bin"):
        open_one(bad, 4)


@pytest.mark.parametrize("content", ["", "[", "{}", '{"_data_files": 7}', "[1]", '[{"name": "acts000000.bin"}]'])
def test_an_index_that_cannot_be_read_is_opened_in_the_place_of_its_files(tmp_path: Path, content: str) -> None:
    acts = shards.random((2, 3, 4), torch.float32)
    for made, index in ((shards.arrow(tmp_path, acts), "state.json"), (shards.saev(tmp_path, acts), "shards.json")):
        path = made.path.parent / index
        path.write_text(content)
        assert find_inputs(made.path.parent) == [path]
        with pytest.raises(ShardError, match=index):
            open_one(path, 4)


def test_whatever_is_not_read_is_named(tmp_path: Path) -> None:
    wrapped = ["2.npy.gz", "3.pt.zst", "5.fea", "7.hdf5", "shard-0.tar", "acts.csv", "raw", "x.PKL", "acts.txt"]
    wrapped += ["rows.json", "lines.jsonl", "x.bin"]
    for name in wrapped:
        (tmp_path / name).write_bytes(b"1")
    np.save(tmp_path / "0.npy", np.zeros((2, 3), np.float32))
    for name in ("README.md", "README.txt", "LICENSE", "meta.json", "0.json", "0_info.json", "plot.png"):
        (tmp_path / name).write_bytes(b"1")
    for name in ("4.zarr/c/0", "plain/c/0", "old/0.0"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "0").write_bytes(b"1")
    (tmp_path / "plain" / "zarr.json").write_text("{}")
    (tmp_path / "old" / ".zarray").write_text("{}")
    unread: list[Path] = []
    assert find_inputs(tmp_path, unread=unread.append) == [tmp_path / name for name in ("0.npy", "old", "plain")]
    assert {path.relative_to(tmp_path).as_posix() for path in unread} == {*wrapped, "4.zarr"}


def test_data_beside_a_store_that_its_index_does_not_name_is_named(tmp_path: Path) -> None:
    acts = shards.random((2, 3, 4), torch.float32)
    dataset, saev = shards.arrow(tmp_path, acts).path, shards.saev(tmp_path, acts).path
    memmap = shards.memmap(tmp_path, acts).path
    extra = {dataset.with_name("data-00001.arrow"), saev.with_name("acts000001.bin"), memmap.with_name("more.npy")}
    for path in (*extra, dataset.with_name("cache-1.arrow")):
        path.write_bytes(b"1")
    unread: list[Path] = []
    find_inputs(tmp_path, unread=unread.append)
    assert set(unread) == extra


@pytest.mark.parametrize("name", ["a.npy.bak", "a.npy~", "b.npy.part", "b.npy.TMP", "c.pt.crdownload", "d.npy.orig"])
def test_a_backup_or_an_unfinished_copy_is_named_and_not_taken_for_data(tmp_path: Path, name: str) -> None:
    np.save(tmp_path / "a.npy", np.ones((2, 4), np.float32))
    (tmp_path / name).write_bytes((tmp_path / "a.npy").read_bytes())
    unread: list[Path] = []
    assert [path.name for path in find_inputs(tmp_path, unread=unread.append)] == ["a.npy"]
    assert [path.name for path in unread] == [name] and "an unfinished copy" in why_not_read(unread[0])
    assert find_inputs(tmp_path / name) == [tmp_path / name], "a person who names it means it"
