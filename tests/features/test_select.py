"""Which of several things in a file is read: what --select says, else the only one that fits, else none."""

from __future__ import annotations

from pathlib import Path

import pytest
import shards
import torch
from shards import open_one

from encoder.errors import AmbiguousError, InputError, NotHereError, ShardError
from encoder.readers import parse_select


def test_select_is_parsed_or_refused_with_the_closest_key() -> None:
    assert parse_select(None) == parse_select("") == {}
    assert parse_select("layer=16, component=residual") == {"layer": "16", "component": "residual"}
    assert parse_select("blocks.3.hook_resid_post") == {"key": "blocks.3.hook_resid_post"}
    assert parse_select("resid,dtype=bfloat16") == {"key": "resid", "dtype": "bfloat16"}
    with pytest.raises(InputError, match="did you mean 'layer'"):
        parse_select("laier=16")
    for text in ("layer=", "a,b", "dtype=int8"):
        with pytest.raises(InputError):
            parse_select(text)


def test_several_tensors_that_fit_are_listed_and_a_wrong_name_too(tmp_path: Path) -> None:
    made = shards.torch_mapping(tmp_path, shards.random((2, 3, 4), torch.float32))
    with pytest.raises(AmbiguousError, match=r"--select blocks\.3.*several.*blocks\.3.*blocks\.4"):
        open_one(made.path, 4)
    with pytest.raises(ShardError, match=r"no tensor 'resid'.*blocks\.3"):
        open_one(made.path, 4, {"key": "resid"})


def test_attention_of_the_same_width_does_not_stand_beside_activations(tmp_path: Path) -> None:
    cache = {"blocks.0.attn.hook_pattern": torch.zeros(2, 3, 4, 4), "blocks.0.hook_resid_post": torch.ones(2, 4, 4)}
    torch.save(cache, tmp_path / "x.pt")
    assert open_one(tmp_path / "x.pt", 4).hook_name == "blocks.0.hook_resid_post"
    torch.save({"pattern": cache["blocks.0.attn.hook_pattern"]}, tmp_path / "x.pt")
    with pytest.raises(AmbiguousError, match="name the axes of 'pattern'"):
        open_one(tmp_path / "x.pt", 4)


def test_a_name_cannot_break_a_line_of_a_message(tmp_path: Path) -> None:
    acts = torch.zeros(2, 4)
    torch.save({"a\nb\x1b[31m": acts, "c": acts}, tmp_path / "x.pt")
    with pytest.raises(AmbiguousError) as caught:
        open_one(tmp_path / "x.pt", 4)
    assert str(caught.value).isprintable()
    torch.save({"a.b": acts, "a": {"b": acts}}, tmp_path / "x.pt")
    with pytest.raises(ShardError, match=r"two tensors are called a\.b"):
        open_one(tmp_path / "x.pt", 4)


def test_a_declared_dtype_is_for_integers_only(tmp_path: Path) -> None:
    made = shards.npy(tmp_path, shards.random((2, 3, 4), torch.float16))
    with pytest.raises(ShardError, match=r"float16\[2, 3, 4\]; --select dtype=bfloat16 .* leave it out"):
        open_one(made.path, 4, {"dtype": "bfloat16"})
    made = shards.npy(tmp_path, shards.random((2, 3, 4), torch.bfloat16))
    assert open_one(made.path, 4, {"dtype": "bfloat16"}).dtype == "bfloat16"


def test_several_layers_are_listed_and_a_select_without_use_is_refused(tmp_path: Path) -> None:
    acts = shards.random((2, 3, 4), torch.float32)
    for made, keys in ((shards.capture(tmp_path, acts), "8, 16"), (shards.saev(tmp_path, acts), "13, 23")):
        with pytest.raises(AmbiguousError, match=f"several layers: {keys}"):
            open_one(made.path, 4)
        with pytest.raises(ShardError, match="no layer '99'"):
            open_one(made.path, 4, {**made.select, "layer": "99"})
    with pytest.raises(ShardError, match="nothing to choose"):
        open_one(shards.sae_bench(tmp_path, acts).path, 4, {"layer": "16"})


def test_of_several_tensors_the_saes_own_hook_is_taken_in_any_naming(tmp_path: Path) -> None:
    acts = shards.random((5, 2, 3, 4), torch.float32)
    hook = "blocks.1.hook_resid_post"

    def taken(contents: dict[str, object]) -> tuple[str, bool]:
        torch.save(contents, tmp_path / "x.pt")
        shard = open_one(tmp_path / "x.pt", 4, hook_name=hook)
        return shard.hook_name, torch.equal(shard.read(0, 6), acts[1].reshape(6, 4))

    named = dict(zip(["blocks.0.hook_resid_post", hook, "blocks.1.hook_mlp_out"], acts[[0, 1, 2]], strict=True))
    assert taken(named) == (hook, True)
    assert taken({f"model.layers.{i}": acts[i] for i in range(3)}) == ("model.layers.1", True)
    states = [acts[i] for i in (4, 0, 1, 2)]
    assert taken({"hidden_states": states}) == ("hidden_states[2] of 4", True)
    torch.save({"hidden_states": states[:3]}, tmp_path / "x.pt")
    with pytest.raises(NotHereError, match=r"hidden_states\[2\] of 3 is what the final norm makes of .* block 1"):
        open_one(tmp_path / "x.pt", 4, hook_name=hook)
    torch.save({"a": acts[0], "b": acts[1]}, tmp_path / "x.pt")
    with pytest.raises(AmbiguousError, match="several tensors fit"):
        open_one(tmp_path / "x.pt", 4, hook_name=hook)


def test_of_several_layers_that_of_the_sae_is_taken_but_a_number_is_no_layer(tmp_path: Path) -> None:
    acts = shards.random((3, 2, 3, 4), torch.float32)
    torch.save({f"layer_{i}": acts[i] for i in range(3)}, tmp_path / "x.pt")
    assert open_one(tmp_path / "x.pt", 4, hook_name="blocks.1.hook_resid_post").hook_name == "layer_1"
    torch.save({f"layer_{i}": acts[i] for i in range(2)}, tmp_path / "x.pt")
    with pytest.raises(NotHereError, match=r"nothing of blocks\.7\..*: it has layer_0, layer_1.* --select"):
        open_one(tmp_path / "x.pt", 4, hook_name="blocks.7.hook_resid_post")
    shard = open_one(tmp_path / "x.pt", 4, {"layer": "0"}, hook_name="blocks.1.hook_resid_post")
    assert shard.hook_name == "layer_0" and torch.equal(shard.read(0, 6), acts[0].reshape(6, 4))
    torch.save(dict(enumerate(acts)), tmp_path / "x.pt")
    with pytest.raises(AmbiguousError, match="several tensors fit"):
        open_one(tmp_path / "x.pt", 4, hook_name="blocks.1.hook_resid_post")
