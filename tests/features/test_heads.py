"""Activations by head, [.., n_heads, d_head], are one row a token for an SAE of hook_z, in every format."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import shards
import torch
import zarr
from safetensors.torch import save_file
from shards import open_one, random, same_bits, whole

from encoder.errors import ShardError

HEADS, D_HEAD = 3, 4
D_IN = HEADS * D_HEAD
HOOK = "blocks.5.attn.hook_z"
Write = Callable[[Path, torch.Tensor], Path]


def npy(folder: Path, acts: torch.Tensor) -> Path:
    np.save(folder / "a.npy", acts.numpy())
    return folder / "a.npy"


def npz(folder: Path, acts: torch.Tensor) -> Path:
    np.savez_compressed(folder / "a.npz", acts=acts.numpy())
    return folder / "a.npz"


def safetensors(folder: Path, acts: torch.Tensor) -> Path:
    save_file({"acts": acts}, folder / "a.safetensors")
    return folder / "a.safetensors"


def pt(folder: Path, acts: torch.Tensor) -> Path:
    torch.save(acts, folder / "a.pt")
    return folder / "a.pt"


def hdf5(folder: Path, acts: torch.Tensor) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("acts", data=acts.numpy(), chunks=(2,) * acts.ndim)
    return folder / "a.h5"


def zarr_folder(folder: Path, acts: torch.Tensor) -> Path:
    zarr.create_array(store=str(folder / "a.zarr"), data=acts.numpy())
    return folder / "a.zarr"


def raw(folder: Path, acts: torch.Tensor) -> Path:
    (folder / "a.dat").write_bytes(acts.numpy().tobytes())
    (folder / "a.json").write_text(json.dumps({"dtype": "float32", "shape": list(acts.shape)}))
    return folder / "a.dat"


def of_texts(make: Callable[..., shards.Made]) -> Write:
    """A format whose axes are known: texts of tokens, with token ids beside them."""

    def write(folder: Path, acts: torch.Tensor) -> Path:
        flat_made = make(folder, acts.reshape(*acts.shape[:2], -1))
        loaded: Any = torch.load(flat_made.path, weights_only=True)
        name = next(name for name in ("activations", "activation") if name in loaded)
        torch.save(loaded | {name: acts}, flat_made.path)
        return flat_made.path

    return write


ANY = [npy, npz, safetensors, pt, hdf5, zarr_folder, raw]


@pytest.mark.parametrize("write", ANY)
@pytest.mark.parametrize("lead", [(10,), (2, 5)])
def test_rows_are_those_of_the_flattened_heads(tmp_path: Path, write: Write, lead: tuple[int, ...]) -> None:
    acts = random((*lead, HEADS, D_HEAD), torch.float32)
    shard = open_one(write(tmp_path, acts), D_IN, hook_name=HOOK)
    assert same_bits(whole(shard), acts.reshape(10, D_IN)) and same_bits(shard.read(3, 8), acts.reshape(10, D_IN)[3:8])
    document = shard.tokens().row_document
    assert shards.listed(document) == (None if len(lead) == 1 else [0] * 5 + [1] * 5)


@pytest.mark.parametrize("make", [shards.sae_bench, partial(shards.language_model_saes, suffix="pt")])
def test_formats_whose_axes_are_known_may_have_heads_too(tmp_path: Path, make: Callable[..., shards.Made]) -> None:
    acts = random((2, 5, HEADS, D_HEAD), torch.float32)
    path = of_texts(make)(tmp_path, acts)
    shard = open_one(path, D_IN, hook_name=HOOK)
    ids = shard.tokens().token_ids
    assert same_bits(whole(shard), acts.reshape(10, D_IN)) and ids is not None and len(ids) == 10


def test_a_list_of_prompts_by_head_is_read_as_one_of_rows(tmp_path: Path) -> None:
    parts = [random((n, HEADS, D_HEAD), torch.float32, seed=n) for n in (3, 5)]
    for value in (parts, {f"prompt_{i}": part for i, part in enumerate(parts)}, [{"z": part} for part in parts]):
        torch.save(value, tmp_path / "a.pt")
        shard = open_one(tmp_path / "a.pt", D_IN, hook_name=HOOK)
        assert same_bits(whole(shard), torch.cat(parts).reshape(8, D_IN))
        assert shards.listed(shard.tokens().row_document) == [0] * 3 + [1] * 5
    torch.save([parts[0], parts[0] + 1], tmp_path / "same.pt")
    with pytest.raises(ShardError, match="--axes document,token,head,d"):
        open_one(tmp_path / "same.pt", D_IN, hook_name=HOOK)
    shard = open_one(tmp_path / "same.pt", D_IN, {"axes": "document,token,head,d"}, hook_name=HOOK)
    assert shard.n_rows == 6


@pytest.mark.parametrize("write", ANY)
def test_heads_are_not_joined_for_an_sae_of_another_hook(tmp_path: Path, write: Write) -> None:
    acts = random((10, HEADS, D_HEAD), torch.float32)
    with pytest.raises(ShardError):
        open_one(write(tmp_path, acts), D_IN, hook_name="blocks.5.hook_resid_post")


@pytest.mark.parametrize("write", ANY)
def test_heads_of_another_number_are_refused(tmp_path: Path, write: Write) -> None:
    acts = random((10, HEADS, D_HEAD + 1), torch.float32)
    with pytest.raises(ShardError, match="12"):
        open_one(write(tmp_path, acts), D_IN, hook_name=HOOK)
