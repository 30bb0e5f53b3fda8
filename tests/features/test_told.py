"""The place in the model that a file tells in words beside its activations, in every container."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file
from shards import open_one

from encoder.errors import ShardError

ROWS = torch.ones(3, 4)
HOOK = "blocks.2.hook_resid_post"


def hook_of(path: Path, select: dict[str, str] | None = None) -> str:
    return open_one(path, 4, select).hook_name


@pytest.mark.parametrize(
    ("beside", "expected"),
    [
        ({"hook_name": HOOK}, HOOK),
        ({"hook_point": HOOK, "layer": 7}, HOOK),
        ({"module": "model.layers.2"}, "model.layers.2"),
        ({"layer": 2}, "layer=2"),
        ({"layer": "2", "component": "mlp"}, "layer=2,component=mlp"),
        ({"layer_idx": torch.tensor(2)}, "layer=2"),
        ({"metadata": {"layer": 2}}, "layer=2"),
        ({"config": {"hook_name": HOOK}, "layer": 7}, "layer=7"),
        ({"layers": [1, 2]}, "acts"),
        ({"layer": -1}, "acts"),
        ({"layer": 2.0, "hook": "some words"}, "acts"),
        ({}, "acts"),
    ],
)
def test_words_beside_a_tensor_tell_its_place(tmp_path: Path, beside: dict[str, Any], expected: str) -> None:
    torch.save({"acts": ROWS, **beside}, tmp_path / "a.pt")
    assert hook_of(tmp_path / "a.pt") == expected


def test_the_nearest_words_count_and_a_name_that_tells_a_place_counts_before_them(tmp_path: Path) -> None:
    torch.save({"layer": 7, "run": {"layer": 2, "acts": ROWS}, "other": {"layer": 5}}, tmp_path / "a.pt")
    assert hook_of(tmp_path / "a.pt") == "layer=2"
    torch.save({"layer": 7, "model.layers.3": ROWS}, tmp_path / "a.pt")
    assert hook_of(tmp_path / "a.pt") == "model.layers.3"
    (tmp_path / "layer_9").mkdir()
    torch.save({"acts": ROWS}, tmp_path / "layer_9" / "a.pt")
    assert hook_of(tmp_path / "layer_9" / "a.pt") == "layer_9"


def test_the_metadata_of_safetensors_and_a_number_in_an_npz_tell_a_place(tmp_path: Path) -> None:
    save_file({"acts": ROWS}, tmp_path / "a.safetensors", metadata={"layer": "2", "site": "mlp"})
    assert hook_of(tmp_path / "a.safetensors") == "layer=2,component=mlp"
    np.savez(tmp_path / "a.npz", acts=ROWS.numpy(), layer=np.int64(2))
    assert hook_of(tmp_path / "a.npz") == "layer=2"


def test_attributes_of_hdf5_tell_a_place_and_no_link_is_followed_for_them(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["run/acts"] = ROWS.numpy()
        file["run"].attrs["layer"] = 2
        file.attrs["layer"] = np.int64(7)
    assert hook_of(tmp_path / "a.h5") == "layer=2"
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["run/acts"].attrs["hook_name"] = HOOK
    assert hook_of(tmp_path / "a.h5") == HOOK


def test_a_column_tells_the_place_of_all_rows_and_several_places_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = {"acts": ROWS.tolist(), "token_ids": [1, 2, 3]}
    for column, expected in (({"layer": [2, 2, 2]}, "layer=2"), ({"hook_name": [HOOK] * 3}, HOOK)):
        pq.write_table(pa.table(table | column), path)
        assert hook_of(path) == expected
    for column in ({"layer": [1, 2, 2]}, {"hook_name": [HOOK, "blocks.1.hook_resid_post", HOOK]}):
        pq.write_table(pa.table(table | column), path)
        with pytest.raises(ShardError, match="save the rows of the SAE's layer alone"):
            hook_of(path)
    pq.write_table(pa.table(table | {"module": ["a", "b", "c"], "layer": [2, 2, 2]}), path)
    assert hook_of(path) == "layer=2"


def test_a_saved_data_set_tells_its_place_and_rows_of_layers_in_it_are_not_texts(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    path = tmp_path / "d" / "data-00000-of-00001.arrow"

    def save(**columns: Any) -> Path:
        datasets.Dataset.from_dict(columns).save_to_disk(tmp_path / "d")
        return path

    acts = np.ones((2, 3, 4), np.float32).tolist()
    assert hook_of(save(acts=acts, layer=[2, 2])) == "layer=2"
    with pytest.raises(ShardError, match="save the rows of the SAE's layer alone: column layer says 1, 2"):
        hook_of(save(acts=acts, layer=[1, 2]))
    steps = np.random.default_rng(0).standard_normal((6, 40, 16)) * [[[1]], *[[[0.3]]] * 5]
    layers = np.cumsum(steps, axis=0).astype(np.float32).transpose(1, 0, 2)
    with pytest.raises(ShardError, match="--axes document,token,d if each is a text"):
        open_one(save(acts=layers.tolist()), 16)
    assert open_one(path, 16, {"axes": "document,token,d"}).n_rows == 240
