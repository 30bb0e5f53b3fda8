"""One rule for all readers: the SAE's own place is taken, by any name; the last hidden state is no block's output."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import shards
import torch
from encoding import D_IN, Command, make_module, save
from pyarrow import parquet
from shards import open_one, same_bits, whole

import encoder
from encoder.errors import AmbiguousError, NotHereError, ShardError
from encoder.readers import parse_select
from encoder.sae.right_hook import check_hook

N = 12
MODEL = "gpt2-small"  # which has 12 blocks


def hook(layer: int) -> str:
    return f"blocks.{layer}.hook_resid_post"


def stack(n_layers: int = N + 1, n_tokens: int = 5, d: int = 4) -> torch.Tensor:
    return shards.random((n_layers, n_tokens, d), torch.float32)


def taken(path: Path, layer: int, axes: str | None = None, select: str | None = None) -> torch.Tensor:
    shard = open_one(path, 4, parse_select(select, axes), hook_name=hook(layer), model_name=MODEL)
    return whole(shard)


@pytest.mark.parametrize("form", ["named", "nameless", "list", "tuple under its name", "token first", "npz", "hdf5"])
def test_of_hidden_states_the_output_of_a_block_is_the_next_element(tmp_path: Path, form: str) -> None:
    states, path, axes = stack(), tmp_path / "x.pt", "layer,token,d"
    if form == "named":
        torch.save({"hidden_states": states}, path)
    elif form == "nameless":
        np.save(path.with_suffix(".npy"), states.numpy())
        path = path.with_suffix(".npy")
    elif form == "list":
        torch.save(list(states), path)
    elif form == "tuple under its name":
        torch.save({"hidden_states": tuple(states)}, path)
        axes = ""
    elif form == "token first":
        torch.save({"hidden_states": states.transpose(0, 1).contiguous()}, path)
        axes = "token,layer,d"
    elif form == "npz":
        path = tmp_path / "x.npz"
        np.savez(path, hidden_states=states.numpy())
    else:
        import h5py

        path = tmp_path / "x.h5"
        with h5py.File(path, "w") as file:
            file["hidden_states"] = states.numpy()
    for layer in (0, 4, N - 2):
        assert same_bits(taken(path, layer, axes or None), states[layer + 1])
    with pytest.raises(
        NotHereError, match=rf"hidden_states\[{N}\] of {N + 1} is what the final norm makes of .*block 11"
    ):
        taken(path, N - 1, axes or None)
    shard = open_one(path, 4, parse_select(None, axes or None), hook_name=hook(3), model_name=MODEL)
    assert shard.hook_name == f"hidden_states[4] of {N + 1}" and len(shard.places) == N + 1


def test_of_one_layer_a_block_its_name_says_which_is_which(tmp_path: Path) -> None:
    rows = stack(N)
    torch.save({"resid_post": rows}, tmp_path / "x.pt")
    assert same_bits(taken(tmp_path / "x.pt", N - 1, "layer,token,d"), rows[N - 1])
    torch.save({"resid_pre": rows}, tmp_path / "x.pt")
    assert same_bits(taken(tmp_path / "x.pt", 3, "layer,token,d"), rows[4])
    with pytest.raises(NotHereError, match=r"nothing of blocks\.11"):
        taken(tmp_path / "x.pt", N - 1, "layer,token,d")


@pytest.mark.parametrize("n_layers", [3, N, N + 2])
def test_layers_that_nobody_says_the_numbers_of_are_left_to_the_user(tmp_path: Path, n_layers: int) -> None:
    torch.save({"acts": stack(n_layers)}, tmp_path / "x.pt")
    with pytest.raises(AmbiguousError, match="choose with --select layer=0"):
        taken(tmp_path / "x.pt", 1, "layer,token,d")
    torch.save({"resid_post": stack(3)}, tmp_path / "x.pt")
    with pytest.raises(AmbiguousError, match="choose with --select layer=0"):
        taken(tmp_path / "x.pt", 1, "layer,token,d")
    torch.save({"acts": stack(n_layers)}, tmp_path / "x.pt")
    assert taken(tmp_path / "x.pt", 1, "layer,token,d", "layer=2").shape == (5, 4)


def test_a_list_of_layers_is_of_one_shape(tmp_path: Path) -> None:
    states = stack()
    torch.save([*states[:-1], states[-1][:2]], tmp_path / "x.pt")
    with pytest.raises(ShardError, match="for a list of tensors of one shape"):
        taken(tmp_path / "x.pt", 1, "layer,token,d")


def test_of_a_capture_and_of_saev_the_saes_own_layer_is_taken(tmp_path: Path) -> None:
    acts = shards.random((2, 3, 4), torch.float32)
    (tmp_path / "capture").mkdir()
    capture = shards.capture(tmp_path / "capture", acts)
    shard = open_one(capture.path, 4, hook_name=hook(16))
    assert same_bits(whole(shard), capture.rows) and shard.hook_name == "layer=16,component=residual"
    with pytest.raises(NotHereError, match=r"nothing of blocks\.3.*layer=16,component=residual"):
        open_one(capture.path, 4, hook_name=hook(3))
    saev = shards.saev(tmp_path, acts)
    assert same_bits(whole(open_one(saev.path, 4, hook_name="layer=23")), saev.rows)
    with pytest.raises(NotHereError, match=r"it has layer=13, layer=23"):
        open_one(saev.path, 4, hook_name=hook(3))


def test_no_command_is_offered_that_takes_another_layer(tmp_path: Path, encode: Command) -> None:
    module = make_module("jumprelu")
    module.cfg.metadata.hook_name = hook(7)
    sae = save(module, tmp_path / "sae")
    rows = shards.random((2, 5, D_IN), torch.float32)
    (tmp_path / "acts").mkdir()
    torch.save({hook(1): rows[0], hook(2): rows[1]}, tmp_path / "acts" / "a.pt")
    ended = encode("run", tmp_path / "acts", "--out", tmp_path / "out", "--sae-path", sae)
    assert ended.status == 1 and "nothing of blocks.7" in ended.err
    assert ended.err.splitlines()[-1].startswith("Once mended: "), ended.err


def test_of_columns_the_saes_own_is_taken_and_all_places_are_told(tmp_path: Path) -> None:
    rows = [[[float(layer)] * 4] * 3 for layer in range(3)]
    table = pa.table({f"model.layers.{layer}": pa.array(rows[layer]) for layer in range(3)})
    parquet.write_table(table, tmp_path / "x.parquet")
    shard = open_one(tmp_path / "x.parquet", 4, hook_name=hook(1))
    assert (whole(shard) == 1).all() and shard.places == tuple(f"model.layers.{layer}" for layer in range(3))
    with pytest.raises(NotHereError, match=r"nothing of blocks\.7"):
        open_one(tmp_path / "x.parquet", 4, hook_name=hook(7))


def test_of_a_whole_cache_each_sae_has_its_own_of_two_names_for_one_place(tmp_path: Path) -> None:
    pre, post = stack(2)
    torch.save({"blocks.3.hook_resid_pre": pre, "blocks.2.hook_resid_post": post}, tmp_path / "x.pt")
    path = tmp_path / "x.pt"
    assert same_bits(whole(open_one(path, 4, hook_name="blocks.3.hook_resid_pre")), pre)
    assert same_bits(whole(open_one(path, 4, hook_name="blocks.2.hook_resid_post")), post)
    assert same_bits(whole(open_one(path, 4, hook_name="model.layers.2")), post), "of both names the output's"


def test_a_blocks_input_that_is_taken_from_the_output_before_is_noted(tmp_path: Path) -> None:
    torch.save({"blocks.2.hook_resid_post": stack(1)[0], "blocks.5.hook_resid_post": stack(1)[0]}, tmp_path / "x.pt")
    shard = open_one(tmp_path / "x.pt", 4, hook_name="blocks.3.hook_resid_pre")
    (note,) = check_hook(shard, "blocks.3.hook_resid_pre", "", {})
    assert "blocks.3.hook_resid_pre" in note and "blocks.2.hook_resid_post" in note
    assert check_hook(shard, "blocks.2.hook_resid_post", "", {}) == ()


def test_saes_of_all_blocks_share_one_reading_of_hidden_states(tmp_path: Path, encode: Command) -> None:
    states = shards.random((7, N + 1, D_IN), torch.float32)  # [token, layer, d]
    (tmp_path / "acts").mkdir()
    torch.save({"hidden_states": states}, tmp_path / "acts" / "a.pt")
    paths = []
    for layer in (0, 5, N - 1):
        module = make_module("jumprelu", seed=layer)
        module.cfg.metadata.hook_name, module.cfg.metadata.model_name = hook(layer), MODEL
        paths.append(save(module, tmp_path / f"sae_{layer}"))
    run = ("run", tmp_path / "acts", "--axes", "token,layer,d")
    flags = [word for path in paths for word in ("--sae-path", path)]
    ended = encode(*run, "--out", tmp_path / "out", *flags, "--json")
    assert ended.status == 0, ended
    assert [(one["results"], one["absent"]) for one in ended.document["saes"]] == [(1, 0), (1, 0), (0, 1)]
    assert len(ended.document["without_sae"]) == N - 1 and "final norm" in ended.document["saes"][2]["why_absent"]
    assert "after the final norm" in ended.err
    for one, path in zip(ended.document["saes"][:2], paths, strict=False):
        alone = tmp_path / f"{path.name} alone"
        assert encode(*run, "--out", alone, "--sae-path", path).status == 0
        assert (tmp_path / "out" / one["folder"] / "a.npz").read_bytes() == (alone / "a.npz").read_bytes()
    with pytest.raises(encoder.EncodeError, match="final norm"):
        encoder.encode_files(tmp_path / "acts", tmp_path / "x", paths[2], axes="token,layer,d", progress=False)


@pytest.mark.parametrize(
    ("numbers", "sae", "words"),
    [
        (range(N + 1), 3, "choose with --select layer_4 if layer_0 is the embedding; or --select layer_3 if it is"),
        (range(1, N + 1), 3, "choose with --select layer_4 if they are counted from 1; or --select layer_3 if it is"),
        (range(N + 1), N - 1, "if layer_0 is the embedding, layer_12 is after the final norm and no block's output"),
        (range(1, N + 1), N - 1, "choose with --select layer_12 if they are counted from 1; or --select layer_11 if"),
    ],
)
def test_layers_that_go_on_beyond_the_last_block_are_not_taken_for_blocks(
    tmp_path: Path, numbers: range, sae: int, words: str
) -> None:
    states = stack()
    torch.save({f"layer_{n}": states[n] for n in numbers}, tmp_path / "x.pt")
    with pytest.raises(AmbiguousError, match=f"(?i){words}"):
        taken(tmp_path / "x.pt", sae)
    assert same_bits(taken(tmp_path / "x.pt", sae, select="layer_4"), states[4])
    torch.save({f"layer_{n}": states[n] for n in range(N)}, tmp_path / "x.pt")
    assert same_bits(taken(tmp_path / "x.pt", sae), states[sae])


@pytest.mark.parametrize("name", ["last_hidden_state", "last_hidden_states"])
def test_a_file_that_is_called_the_last_hidden_state_is_no_blocks_output(tmp_path: Path, name: str) -> None:
    np.save(tmp_path / f"{name}.npy", stack()[N].numpy())
    shard = open_one(tmp_path / f"{name}.npy", 4, hook_name=hook(N - 1), model_name=MODEL)
    with pytest.raises(ShardError, match="activations are from last_hidden_state"):
        check_hook(shard, hook(N - 1), MODEL, {})
