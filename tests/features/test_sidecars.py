"""Token ids and masks in files of their own: read with the file they lie beside, never taken for activations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shards
import torch
from shards import listed, open_one

from encoder.errors import ShardError
from encoder.readers import find_inputs

ACTS = shards.random((2, 3, 4), torch.float32).numpy()
REAL = np.array([True, True, False, False, True, True])
MASK, IDS = REAL.reshape(2, 3), np.arange(6).reshape(2, 3)


def fill(folder: Path, **files: np.ndarray) -> None:  # type: ignore[type-arg]
    for name, array in files.items():
        np.save(folder / f"{name}.npy", array)


def found(folder: Path) -> list[str]:
    return [path.name for path in find_inputs(folder)]


@pytest.mark.parametrize("prefix", ["", "acts_", "acts.", "acts-"])
@pytest.mark.parametrize("mask", [MASK, MASK.astype(np.int64), np.where(MASK, 0.0, -np.inf), REAL])
def test_the_mask_and_the_ids_beside_a_file_are_its_own(tmp_path: Path, prefix: str, mask: np.ndarray) -> None:  # type: ignore[type-arg]
    fill(tmp_path, **{"acts": ACTS, f"{prefix}attention_mask": mask, f"{prefix}input_ids": IDS})
    assert found(tmp_path) == ["acts.npy"]
    shard = open_one(tmp_path / "acts.npy", 4)
    assert listed(shard.tokens().row_mask) == REAL.tolist() and listed(shard.tokens().token_ids) == [*range(6)]
    assert shard.notes == ("taken from files of their own beside it: attention_mask, input_ids",)


def test_tensors_of_torch_have_them_as_well(tmp_path: Path) -> None:
    for name, array in (("a", ACTS), ("b", -ACTS), ("a_mask", MASK), ("b_mask", ~MASK)):
        torch.save(torch.from_numpy(array), tmp_path / f"{name}.pt")
    assert found(tmp_path) == ["a.pt", "b.pt"]
    assert listed(open_one(tmp_path / "a.pt", 4).tokens().row_mask) == REAL.tolist()
    assert listed(open_one(tmp_path / "b.pt", 4).tokens().row_mask) == (~REAL).tolist()


def test_a_bare_name_beside_two_files_is_neither_ones(tmp_path: Path) -> None:
    fill(tmp_path, a=ACTS, b=ACTS, attention_mask=MASK)
    assert found(tmp_path) == ["a.npy", "attention_mask.npy", "b.npy"]
    assert open_one(tmp_path / "a.npy", 4).tokens().row_mask is None
    with pytest.raises(ShardError, match=r"attention_mask\.npy.*(bool|activations)"):
        open_one(tmp_path / "attention_mask.npy", 4)


def test_activations_that_are_called_like_a_sidecar_are_activations(tmp_path: Path) -> None:
    fill(tmp_path, acts=ACTS, acts_tokens=ACTS, mask=ACTS[:, :2])
    assert found(tmp_path) == ["acts.npy", "acts_tokens.npy", "mask.npy"]
    assert open_one(tmp_path / "acts.npy", 4).tokens().token_ids is None
    assert open_one(tmp_path / "acts_tokens.npy", 4).n_rows == 6


def test_one_of_another_length_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, acts=ACTS, acts_attention_mask=np.ones((2, 4), np.bool_))
    with pytest.raises(ShardError, match=r"the mask is bool\[2, 4\] but the activations are float32\[2, 3, 4\]"):
        open_one(tmp_path / "acts.npy", 4)


def test_one_whose_name_does_not_say_what_1_means_is_told_of(tmp_path: Path) -> None:
    fill(tmp_path, acts=ACTS, acts_padding_mask=MASK)
    shard = open_one(tmp_path / "acts.npy", 4)
    assert found(tmp_path) == ["acts.npy"] and shard.tokens().row_mask is None
    assert any(note.startswith("padding_mask is not used") for note in shard.notes)


def test_numbers_without_a_header_have_an_npy_beside_them(tmp_path: Path) -> None:
    ACTS.tofile(tmp_path / "acts.dat")
    fill(tmp_path, acts_attention_mask=MASK, acts_token_ids=IDS)
    declared = {"raw_dtype": "float32", "raw_shape": "2,3,4"}
    assert [path.name for path in find_inputs(tmp_path, select=declared)] == ["acts.dat"]
    tokens = open_one(tmp_path / "acts.dat", 4, declared).tokens()
    assert listed(tokens.row_mask) == REAL.tolist() and listed(tokens.token_ids) == [*range(6)]
