"""Which files of a folder are data, and in which order."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import shards
import torch

from encoder.errors import InputError
from encoder.readers import find_inputs


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
    assert unread == [tmp_path / "sub" / "x.h5", tmp_path / "x.bin"]
    assert find_inputs(tmp_path / "README.md") == [tmp_path / "README.md"]
    (tmp_path / "empty").mkdir()
    assert find_inputs(tmp_path / "empty") == []
    with pytest.raises(InputError, match="no such file"):
        find_inputs(tmp_path / "nothing")
    (tmp_path / "d").joinpath(*"e" * 100).mkdir(parents=True)
    with pytest.raises(InputError, match="over 64 folders deep"):
        find_inputs(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list any folder")
def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(InputError, match="closed: cannot be listed"):
        find_inputs(tmp_path)


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


@pytest.mark.parametrize("listed_name", ["data-00009.arrow", "../secret.arrow", "/etc/passwd", 7])
def test_an_index_that_names_a_missing_or_foreign_file_is_refused(tmp_path: Path, listed_name: object) -> None:
    (tmp_path / "secret.arrow").write_bytes(b"")
    dataset = shards.arrow(tmp_path, shards.random((2, 3, 4), torch.float32)).path.parent
    (dataset / "state.json").write_text(json.dumps({"_data_files": [{"filename": listed_name}]}))
    with pytest.raises(InputError, match=r"missing|expected an \.arrow file in this folder"):
        find_inputs(dataset)
    saev = shards.saev(tmp_path, shards.random((2, 3, 4), torch.float32)).path.parent
    (saev / "shards.json").write_text(json.dumps([{"name": listed_name, "n_examples": 1}]))
    with pytest.raises(InputError, match=r"expected acts000000\.bin"):
        find_inputs(saev)
