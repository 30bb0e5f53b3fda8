"""Activations of another layer than the SAE is for are refused with both names, unless the user chose them by hand."""

from __future__ import annotations

from pathlib import Path

import encoding
import numpy as np
import pytest
import torch
from encoding import D_IN, Command, make_module, save

from encoder.errors import ShardError
from encoder.sae.right_hook import check_hook
from encoder.sae.sae import LoadedSae
from encoder.shard import Shard

HOOK = "blocks.1.hook_resid_post"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An SAE of GPT-2's block 1."""
    module = make_module("jumprelu")
    module.cfg.metadata.hook_name, module.cfg.metadata.model_name = HOOK, "gpt2-small"
    return save(module, tmp_path / "sae")


@pytest.fixture
def sae(folder: Path) -> LoadedSae:
    return encoding.load(folder)


def shard_from(hook_name: str) -> Shard:
    return Shard(Path("a.pt"), 1, D_IN, "float32", lambda start, stop: torch.zeros(1, D_IN), hook_name=hook_name)


@pytest.mark.parametrize("name", ["blocks.2.hook_resid_post", "model.layers.0", "layer=1,component=mlp", "layer_2"])
def test_another_layer_or_site_is_refused_with_both_names(sae: LoadedSae, name: str) -> None:
    with pytest.raises(ShardError) as refused:
        check_hook(shard_from(name), sae.hook_name, sae.model_name, {})
    assert name in str(refused.value) and HOOK in str(refused.value) and "--select" in str(refused.value)
    with pytest.raises(ShardError):
        check_hook(shard_from(name), sae.hook_name, sae.model_name, {"dtype": "bfloat16"})


@pytest.mark.parametrize("chosen", [{"key": "blocks.2.hook_resid_post"}, {"layer": "2", "component": "residual"}])
def test_what_was_chosen_by_hand_is_taken_and_noted(sae: LoadedSae, chosen: dict[str, str]) -> None:
    (note,) = check_hook(shard_from("blocks.2.hook_resid_post"), sae.hook_name, sae.model_name, chosen)
    assert "blocks.2.hook_resid_post" in note and HOOK in note and "--select" in note
    assert check_hook(shard_from("model.layers.1"), sae.hook_name, sae.model_name, chosen) == ()


@pytest.mark.parametrize("name", [HOOK, "model.layers.1", "hidden_states[2]", "layer=1", "1", "", "acts"])
def test_the_same_place_and_names_that_tell_none_are_taken_without_a_word(sae: LoadedSae, name: str) -> None:
    assert check_hook(shard_from(name), sae.hook_name, sae.model_name, {}) == ()


@pytest.mark.parametrize(
    "place",
    [
        "blocks.2.hook_resid_post.npy", "layer_2.npy", "gemma_layer2_resid.npy", "layer=2/0.npy",
        "acts-layer-2/a/b/0.npy", "model.layers.2/0001.npy", "2-gemmascope-res-16k/0.npy",
        "layer_1_mlp_out/0.npy", "layer_1_pre.npy",
    ],
)  # fmt: skip
def test_a_file_or_a_folder_that_names_another_layer_or_site_is_refused_and_can_be_chosen(
    folder: Path, tmp_path: Path, encode: Command, place: str
) -> None:
    path = tmp_path / "acts" / place
    path.parent.mkdir(parents=True)
    np.save(path, np.ones((3, D_IN), np.float32))
    run = ("run", tmp_path / "acts", "--sae-path", folder, "--out", tmp_path / "out")
    ended = encode(*run)
    assert ended.status == 1 and "but the SAE is for blocks.1.hook_resid_post" in ended.err
    if "layer=2" in place or "layer_2" in place:
        chosen = encode(*run, "--select", "layer=2")
        assert chosen.status == 0 and "they were chosen with --select" in chosen.err


@pytest.mark.parametrize(
    "place",
    [
        "blocks.1.hook_resid_post.npy", "layer_1.npy", "resid_layer_1_part_2.npy", "layer_1/layer.npy",
        "layers_0_to_3.npy", "shard_2.npy", "l2_normalised.npy", "resid_post_2.npy", "12_layer_3_of_4_layer_5.npy",
        "multilayer2x.npy",
        "blocks.1.hook_resid_post_batch2.npy", "model.layers.1.output.0/2.npy",
    ],
)  # fmt: skip
def test_a_file_that_names_the_saes_layer_or_none_is_taken(
    folder: Path, tmp_path: Path, encode: Command, place: str
) -> None:
    path = tmp_path / "layer_9" / "acts" / place  # what is above the INPUT is no matter
    path.parent.mkdir(parents=True)
    np.save(path, np.ones((3, D_IN), np.float32))
    ended = encode("run", tmp_path / "layer_9" / "acts", "--sae-path", folder, "--out", tmp_path / "out")
    assert ended.status == 0, ended


def test_which_tensor_was_taken_of_several_is_told(folder: Path, tmp_path: Path, encode: Command) -> None:
    x = torch.ones(5, D_IN)
    run = ("run", tmp_path / "a.pt", "--sae-path", folder, "--out", tmp_path / "out")
    for names, taken in ((["layer_0", "layer_1"], "layer_1"), (["model.layers.1", "model.layers.2"], "model.layers.1")):
        torch.save(dict.fromkeys(names, x), tmp_path / "a.pt")
        said = encode(*run).err
        assert f"{taken} is taken of 2 tensors that fit, as the SAE is for {HOOK}" in said
    torch.save({HOOK: x, "other": x}, tmp_path / "a.pt")
    assert "is taken of" not in encode(*run).err, "its very name"
    torch.save({"layer_1": x}, tmp_path / "a.pt")
    assert "is taken of" not in encode(*run).err


def test_an_sae_that_names_no_hook_is_compared_with_nothing(sae: LoadedSae) -> None:
    sae.source.cfg.metadata["hook_name"] = None
    assert check_hook(shard_from("blocks.2.hook_resid_post"), sae.hook_name, sae.model_name, {}) == ()


def test_the_last_hidden_state_is_not_the_output_of_the_models_last_block(sae: LoadedSae) -> None:
    sae.source.cfg.metadata["hook_name"] = "blocks.11.hook_resid_post"
    with pytest.raises(ShardError, match=r"hidden_states\[12\]"):
        check_hook(shard_from("hidden_states[12]"), sae.hook_name, sae.model_name, {})
    sae.source.cfg.metadata["hook_name"] = "blocks.10.hook_resid_post"
    assert check_hook(shard_from("hidden_states[11]"), sae.hook_name, sae.model_name, {}) == ()


def test_a_cache_of_another_layer_fails_and_the_good_one_beside_it_is_encoded(
    folder: Path, tmp_path: Path, encode: Command
) -> None:
    acts = tmp_path / "acts"
    acts.mkdir()
    x = torch.randn(5, D_IN, generator=torch.Generator().manual_seed(0))
    torch.save({"blocks.2.hook_resid_post": x}, acts / "other.pt")
    torch.save({HOOK: x}, acts / "right.pt")
    run = ("run", acts, "--sae-path", folder, "--json")
    ended = encode(*run, "--out", tmp_path / "out")
    assert ended.status == 1 and ended.document["done"] == 1
    assert "blocks.2" in ended.document["errors"]["other"] and "blocks.1" in ended.document["errors"]["other"]
    (acts / "right.pt").unlink()
    ended = encode(*run, "--out", tmp_path / "by hand", "--select", "blocks.2.hook_resid_post")
    assert ended.status == 0
    notes = encoding.meta(tmp_path / "by hand" / "other.npz")["notes"]
    assert any("blocks.2.hook_resid_post" in note and HOOK in note for note in notes)
