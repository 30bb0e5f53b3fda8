"""The names of a place in a model: the same place by every name, another layer or site by none."""

from __future__ import annotations

import pytest

from encoder.hooks import N_LAYERS, compare, parse

AFTER_16 = [
    "blocks.16.hook_resid_post",
    "blocks.17.hook_resid_pre",
    "blocks_16_hook_resid_post",
    "model.layers.16",
    "model.layers.16.output",
    "model.layers.17.input",
    "model.language_model.layers.16",
    "transformer.h.16",
    "gpt_neox.layers.16",
    "layers.16",
    "layers_16_out",
    "h.16",
    "layer=16,component=residual",
    "hook=blocks.16.hook_resid_post",
    "hidden_states[17]",
    "hidden_states.17",
    "hidden_states_17",
    "outputs/hidden_states[17]",
    "hidden_states[17] of 27",
    "resid_post_layer_16",
    "resid_post_layer_16/trainer_3",
    "resid_pre_layer_17",
    "resid_16_out",
    "resid_17_in",
    "residual_16",
    "layer.16.resid_post",
    "16.resid_post",
    "prompt.activations.16.residual",
    "L16R",
    "Llama3_1-8B-Base-L16R-8x",
    " Blocks.16.hook_resid_post ",
    "model.layers.16.output.0",
    "model.layers.16.output[0]",
    "model.layers.17.input[0]",
    "model_layers_16_output",
    "layer_16_residual_stream",
    "layer_16_post",
    "layer_17_pre",
    "hook_resid_post.16",
    "resid_post/16",
    "residual-16",
    "res_16",
    "16-gemmascope-res-16k",
    "16-res-jb",
    "model.layers.16.output_batch_3",
    "blocks.16.hook_resid_post_train",
]
LAYER_16_ALONE = [
    "layer=16", "layer_16", "layer16", "layer-16", "layer_16/width_16k/canonical", "16", "layers_16_train",
    "blocks.16.part_0", "layers.16.fp32",
]  # fmt: skip
AT_16_ELSEWHERE = [
    "blocks.16.hook_resid_mid",
    "blocks.16.hook_resid_pre",
    "blocks.16.hook_mlp_out",
    "blocks.16.hook_attn_out",
    "blocks.16.attn.hook_z",
    "blocks.16.mlp.hook_post",
    "blocks.16.ln2.hook_normalized",
    "model.layers.16.input",
    "model.layers.16.mlp",
    "model.layers.16.self_attn",
    "model.layers.16.self_attn.o_proj.input",
    "model.layers.16.post_feedforward_layernorm.output",
    "layer=16,component=mlp",
    "mlp_16_out",
    "mlp_out_layer_16",
    "attn_16_out",
    "L16M",
    "L16A",
    "16-gemmascope-mlp-16k",
    "16-gemmascope-att-16k",
    "layer_16_pre",
    "layer_16_mid",
    "layer_16_ln1",
    "model.layers.16.input_layernorm",
    "model.layers.16.block_sparse_moe",
    "model.layers.16.mlp.down_proj.output[0]",
    "lm_head",
    "logits",
    "last_hidden_state",
]
NOWHERE = [
    "", "x", "acts", "activations", "hidden", "tensor", "data.0.x", "sample_3_4", "layers_0_to_25", "run-7",
    "all_layers", "2024-11-03", "gemma-2-2b", "train.1", "chunk_00000016",
]  # fmt: skip


@pytest.mark.parametrize("ours", AFTER_16)
def test_every_name_of_a_blocks_output_is_the_same_place(ours: str) -> None:
    for theirs in AFTER_16:
        assert compare(ours, theirs) == "same", theirs
    for wrong in ("blocks.15.hook_resid_post", "model.layers.17", "hidden_states[16]", "layer=1,component=residual"):
        assert compare(ours, wrong) == compare(wrong, ours) == "other", wrong


@pytest.mark.parametrize("name", LAYER_16_ALONE)
def test_a_layer_without_a_site_is_compared_by_the_layer(name: str) -> None:
    assert compare(name, "blocks.16.hook_resid_post") == "unknown"
    assert compare(name, "blocks.16.hook_mlp_out") == "unknown"
    assert compare(name, "blocks.6.hook_resid_post") == compare(name, "model.layers.1") == "other"


@pytest.mark.parametrize("name", AT_16_ELSEWHERE)
def test_another_site_of_the_same_layer_is_another_place(name: str) -> None:
    assert compare(name, "blocks.16.hook_resid_post") == compare("model.layers.16", name) == "other"


@pytest.mark.parametrize("name", NOWHERE)
def test_a_name_that_tells_no_place_is_compared_with_nothing(name: str) -> None:
    assert not parse(name).is_known
    assert compare(name, "blocks.16.hook_resid_post") == compare("blocks.16.hook_resid_post", name) == "unknown"


def test_a_module_that_some_models_norm_afterwards_is_left_open() -> None:
    """In Gemma the output of `mlp` is not what TransformerLens calls hook_mlp_out; in Llama it is."""
    assert compare("model.layers.3.mlp", "blocks.3.hook_mlp_out") == "unknown"
    assert compare("model.layers.3.self_attn", "blocks.3.hook_attn_out") == "unknown"
    assert compare("model.layers.3.mlp", "blocks.3.hook_attn_out") == "other"
    assert compare("model.layers.3.post_feedforward_layernorm.output", "blocks.3.hook_mlp_out") == "same"
    assert compare("model.layers.3.self_attn.o_proj.input", "blocks.3.attn.hook_z") == "same"


@pytest.mark.parametrize(("model", "n_layers"), [("gemma-2-2b", 26), ("google/gemma-2-2b", 26), ("gpt2-small", 12)])
def test_the_last_hidden_state_is_the_output_of_no_block(model: str, n_layers: int) -> None:
    last, block = f"hidden_states[{n_layers}]", f"blocks.{n_layers - 1}.hook_resid_post"
    assert compare(last, block, model) == compare(block, last, model) == "other"
    assert compare(f"{last} of {n_layers + 1}", block) == "other", "the name tells how many there are"
    assert compare(last, last, model) == "same"
    assert compare(last, block, "a model that nobody knows") == "same"
    before = f"hidden_states[{n_layers - 1}]"
    assert compare(before, f"blocks.{n_layers - 2}.hook_resid_post", model) == "same"


def test_hidden_states_begin_with_the_input_of_the_first_block() -> None:
    assert compare("hidden_states[0]", "blocks.0.hook_resid_pre") == "same"
    assert compare("hidden_states[0]", "hook_embed") == "same"
    assert compare("hidden_states[0]", "blocks.0.hook_resid_post") == "other"
    assert compare("hidden_states[1]", "blocks.0.hook_resid_post") == "same"


def test_a_place_is_the_same_as_itself_whatever_its_site_is_called() -> None:
    assert compare("blocks.3.mlp.gate", "blocks.3.mlp.gate") == "same"
    assert compare("blocks.3.mlp.gate", "blocks.3.mlp.up") == "other"
    assert compare("blocks.3.mlp.gate", "blocks.4.mlp.gate") == "other"


def test_the_numbers_of_layers_are_those_of_models_in_the_registry() -> None:
    assert N_LAYERS["gemma-2-2b"] == 26 and all(6 <= n <= 80 for n in N_LAYERS.values())
