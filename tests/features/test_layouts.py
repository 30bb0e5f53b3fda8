"""SAEs of OpenAI, Goodfire and qresearch, crosscoders, sets of transcoders; and what is said of none of these."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from encoding import D_IN, D_SAE
from safetensors.torch import save_file
from test_loaders import K, above, assert_features, largest, pre_activations, rows, weights

from encoder import EncodeError, encode, encode_files, load_sae
from encoder.errors import InputError

N_LAYERS = 2


def openai(path: Path, w: dict[str, torch.Tensor], **more: Any) -> Path:
    state = {
        "pre_bias": w["b_dec"], "latent_bias": w["b_enc"], "encoder.weight": w["W_enc"].T.contiguous(),
        "decoder.weight": w["W_dec"].T.contiguous(), "stats_last_nonzero": torch.zeros(D_SAE, dtype=torch.int64),
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state | more, path)
    return path


def test_openais_relu_takes_the_bias_from_the_input(tmp_path: Path) -> None:
    w = weights()
    expected = above(pre_activations(w, rows(), subtract=True), 0)
    assert_features(load_sae(sae_path=openai(tmp_path / "3.pt", w, activation="ReLU")), expected)
    assert_features(load_sae(sae_path=openai(tmp_path / "4.pt", w)), expected)


def test_openais_topk_normalises_the_rows_first(tmp_path: Path) -> None:
    w = weights()
    x = rows().double()
    x = x - x.mean(-1, keepdim=True)
    x = x / (x.std(-1, keepdim=True) + 1e-5)
    path = openai(tmp_path / "layer_3.pt", w, activation="TopK", activation_state_dict={"k": K, "postact_fn": "ReLU"})
    sae = load_sae(sae_path=path)
    assert_features(sae, largest(pre_activations(w, x, subtract=True)))
    twice = openai(
        tmp_path / "layer_4.pt", w, activation="TopK", activation_state_dict={"k": K, "postact_fn": "ReLU"},
        **{"activation.k": K, "activation.postact_fn": "ReLU"},
    )  # fmt: skip
    assert_features(load_sae(sae_path=twice), largest(pre_activations(w, x, subtract=True)))
    tied = torch.load(path)
    tied["decoder.linear.weight"] = tied.pop("decoder.weight").T.contiguous()
    torch.save(tied, tmp_path / "tied.pt")
    assert_features(load_sae(sae_path=tmp_path / "tied.pt"), largest(pre_activations(w, x, subtract=True)))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"activation": "GELU"}, "activation is 'GELU', expected one of ReLU, TopK"),
        ({"activation": "TopK"}, "k is None, expected a whole number"),
        ({"activation": "TopK", "activation_state_dict": {"k": K, "postact_fn": "Identity"}}, "ReLU as postact_fn"),
        ({"activation": "TopK", "activation_state_dict": {"k": K}, "activation.k": K + 1}, "and beside it stands"),
        ({"scale": 2.0}, "the setting 'scale'"),
        ({"gain": torch.ones(D_SAE)}, "has gain, which a standard SAE does not have"),
        ({"latent_bias": torch.ones(D_IN)}, "b_enc has the shape"),
        ({"encoder.weight": torch.ones(D_IN, D_SAE)}, "the shape"),
    ],
)
def test_a_file_of_openai_that_cannot_be_right_is_refused(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_sae(sae_path=openai(tmp_path / "3.pt", weights(), **more))


@pytest.mark.parametrize(
    ("name", "infix"),
    [
        ("Llama-3.1-8B-Instruct-SAE-l19.pth", "_linear"),
        ("any.pt", "_linear"),
        ("DeepSeek-R1-Distill-Llama-8B-SAE-l19.pt", ""),
    ],
)
def test_two_linear_layers_take_no_bias_from_the_input(tmp_path: Path, name: str, infix: str) -> None:
    w = weights()
    state = {
        f"encoder{infix}.weight": w["W_enc"].T.contiguous(), f"encoder{infix}.bias": w["b_enc"],
        f"decoder{infix}.weight": w["W_dec"].T.contiguous(), f"decoder{infix}.bias": w["b_dec"],
    }  # fmt: skip
    torch.save(state, tmp_path / name)
    sae = load_sae(sae_path=tmp_path / name)
    assert_features(sae, above(pre_activations(w, rows(), subtract=False), 0))
    if "l19" in name:
        assert sae.module.cfg.metadata["hook_name"] == "blocks.19.hook_resid_post"


def crosscoder_state(w: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    d = D_IN // N_LAYERS
    return {
        "W_enc": w["W_enc"].reshape(N_LAYERS, d, D_SAE), "W_dec": w["W_dec"].reshape(D_SAE, N_LAYERS, d),
        "b_enc": w["b_enc"], "b_dec": w["b_dec"].reshape(N_LAYERS, d),
    }  # fmt: skip


def test_a_crosscoder_takes_the_layers_beside_each_other(tmp_path: Path) -> None:
    w = weights()
    torch.save(crosscoder_state(w), tmp_path / "cc_weights.pt")
    (tmp_path / "cfg.json").write_text(json.dumps({"hook_point": "blocks.14.hook_resid_pre", "d_in": D_IN // 2}))
    layers = rows().double().reshape(-1, N_LAYERS, D_IN // N_LAYERS)
    h = torch.einsum("nld,ldf->nf", layers, crosscoder_state(w)["W_enc"].double()) + w["b_enc"]
    for path in (tmp_path, tmp_path / "cc_weights.pt"):
        sae = load_sae(sae_path=path)
        assert_features(sae, above(h, 0))
        assert "2 layers" in " ".join(sae.notes) and "come scaled" in " ".join(sae.notes)
        assert torch.equal(sae.source.state_dict()["W_dec"], w["W_dec"]), "the way back, by which quality judges"


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"activation": "topk"}, "'activation'"),
        ({"input_norm": 2}, "'input_norm'"),
        ({"dict_size": 7}, "dict_size is 7"),
    ],
)
@pytest.mark.parametrize("names", [("cc_weights.pt", "cfg.json"), ("3.pt", "3_cfg.json")])
def test_a_crosscoder_whose_configuration_says_something_else_is_refused(
    tmp_path: Path, names: tuple[str, str], config: dict[str, Any], word: str
) -> None:
    torch.save(crosscoder_state(weights()), tmp_path / names[0])
    (tmp_path / names[1]).write_text(json.dumps(config))
    with pytest.raises(InputError, match=word):
        load_sae(sae_path=tmp_path / names[0])


def test_a_crosscoder_of_dictionary_learning_is_one_too(tmp_path: Path) -> None:
    w = weights()
    state = crosscoder_state(w)
    torch.save(
        {
            "encoder.weight": state["W_enc"], "encoder.bias": state["b_enc"],
            "decoder.weight": state["W_dec"].transpose(0, 1).contiguous(), "decoder.bias": state["b_dec"],
        },
        tmp_path / "ae.pt",
    )  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps({"trainer": {"dict_class": "CrossCoder", "dict_size": D_SAE}}))
    sae = load_sae(sae_path=tmp_path)
    assert_features(sae, above(pre_activations(w, rows(), subtract=False), 0))
    assert torch.equal(sae.source.state_dict()["W_dec"], w["W_dec"])


def test_a_crosscoder_whose_arrays_disagree_is_refused(tmp_path: Path) -> None:
    state = crosscoder_state(weights())
    torch.save(state | {"W_dec": state["W_dec"].transpose(0, 1)}, tmp_path / "cc_weights.pt")
    with pytest.raises(InputError, match="W_enc says 2 layers of"):
        load_sae(sae_path=tmp_path)
    torch.save({name: state[name] for name in ("W_enc", "b_enc")}, tmp_path / "cc_weights.pt")
    with pytest.raises(InputError, match="a crosscoder has W_enc and W_dec in 3 dimensions"):
        load_sae(sae_path=tmp_path)


def transcoder(w: dict[str, torch.Tensor], suffix: str = "") -> dict[str, torch.Tensor]:
    named = {name: w[name] for name in ("W_dec", "b_enc", "b_dec")} | {"W_enc": w["W_enc"].T}
    return {f"{name}{suffix}": tensor.contiguous() for name, tensor in named.items()}


def test_a_layer_of_a_set_of_transcoders_is_known_by_its_name(tmp_path: Path) -> None:
    w = weights()
    save_file(transcoder(w), tmp_path / "layer_7.safetensors")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"model_name": "m", "feature_input_hook": "mlp.hook_in"}))
    expected = above(pre_activations(w, rows(), subtract=False), 0)
    for path in (tmp_path, tmp_path / "layer_7.safetensors"):
        sae = load_sae(sae_path=path)
        assert_features(sae, expected)
        assert sae.module.cfg.metadata["hook_name"] == "blocks.7.mlp.hook_in" and not sae.rebuilds
    save_file(transcoder(w), tmp_path / "layer_8.safetensors")
    with pytest.raises(InputError, match=r"holds 2 SAEs, layer_7.safetensors, layer_8.safetensors: name one"):
        load_sae(sae_path=tmp_path)
    save_file(transcoder(w) | {"W_enc": w["W_enc"].contiguous()}, tmp_path / "layer_7.safetensors")
    with pytest.raises(InputError, match=r"expected \[features, inputs\]"):
        load_sae(sae_path=tmp_path / "layer_7.safetensors")


def test_a_layer_of_a_cross_layer_transcoder_reads_its_own_layer(tmp_path: Path) -> None:
    w = weights()
    state = transcoder(w, "_3")
    decoder = state.pop("W_dec_3").unsqueeze(1).repeat(1, 4, 1)
    save_file(state, tmp_path / "W_enc_3.safetensors")
    with pytest.raises(InputError, match=r"needs W_dec_3.safetensors beside it"):
        load_sae(sae_path=tmp_path / "W_enc_3.safetensors")
    save_file({"W_dec_3": decoder}, tmp_path / "W_dec_3.safetensors")
    sae = load_sae(sae_path=tmp_path / "W_enc_3.safetensors")
    assert_features(sae, above(pre_activations(w, rows(), subtract=False), 0))


def test_an_unknown_layout_is_answered_by_what_is_there_and_by_what_the_nearest_needs(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "notes.md").write_text("x")
    save_file(
        {"W_enc": torch.zeros(8, 32), "W_dec": torch.zeros(32, 8), "b": torch.zeros(32)}, folder / "w.safetensors"
    )
    with pytest.raises(InputError) as refused:
        load_sae(sae_path=folder)
    said = str(refused.value)
    assert "Found: notes.md; w.safetensors (W_dec [32, 8], W_enc [8, 32], b [32])" in said
    assert "Nearest is SAELens, which needs cfg.json and sae_weights.safetensors with W_enc [D, F]" in said
    assert "\n" not in said
    (tmp_path / "no.pt").write_bytes(b"no tensors")
    with pytest.raises(InputError, match=r"no\.pt \(cannot be read as a file of named arrays\)"):
        load_sae(sae_path=tmp_path / "no.pt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="is an empty folder"):
        load_sae(sae_path=tmp_path / "empty")


def batchtopk(folder: Path, w: dict[str, torch.Tensor], **changes: Any) -> Path:
    """Write a checkpoint as bartbussmann's trainer does."""
    config = {
        "seed": 49, "lr": 3e-4, "num_tokens": 10**9, "dtype": "torch.float32", "model_name": "gpt2-small", "layer": 8,
        "site": "resid_pre", "act_size": D_IN, "dict_size": D_SAE, "input_unit_norm": True, "sae_type": "topk",
        "top_k": K, "top_k_aux": 512, "aux_penalty": 1 / 32, "bandwidth": 0.001, "n_batches_to_dead": 5,
        "hook_point": "blocks.8.hook_resid_pre", "name": "gpt2-small_blocks.8", "wandb_project": "saes",
    } | changes  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    state = {name: w[name] for name in ("W_enc", "W_dec", "b_enc", "b_dec")}
    if config["sae_type"] == "jumprelu":
        state["jumprelu.log_threshold"] = (w["threshold"] + 0.1).log()
    torch.save(state, folder / "sae.pt")
    return folder


@pytest.mark.parametrize("is_normed", [True, False])
@pytest.mark.parametrize("sae_type", ["vanilla", "topk", "jumprelu"])
def test_a_checkpoint_of_batchtopks_trainer_is_encoded_by_its_own_rule(
    tmp_path: Path, sae_type: str, *, is_normed: bool
) -> None:
    w, x = weights(), rows().double()
    if is_normed:
        x = x - x.mean(-1, keepdim=True)
        x = x / (x.std(-1, keepdim=True) + 1e-5)
    expected = {
        "vanilla": above(pre_activations(w, x, subtract=True), 0),
        "topk": largest(pre_activations(w | {"b_enc": torch.zeros(D_SAE)}, x, subtract=True)),
        "jumprelu": above(pre_activations(w, x, subtract=False), w["threshold"] + 0.1),
    }[sae_type]
    folder = batchtopk(tmp_path, w, sae_type=sae_type, input_unit_norm=is_normed)
    for path in (folder, folder / "sae.pt"):
        sae = load_sae(sae_path=path)
        assert_features(sae, expected)
        assert (sae.hook_name, sae.model_name) == ("blocks.8.hook_resid_pre", "gpt2-small")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"sae_type": "batchtopk"}, "depend on the batch"),
        ({"top_k": None}, "top_k is None"),
        ({"top_k": D_SAE + 1}, f"from 1 to {D_SAE}"),
        ({"act_size": 7}, "act_size is 7"),
        ({"input_unit_norm": "yes"}, "input_unit_norm is 'yes'"),
        ({"pre_scale": 2}, "'pre_scale'"),
    ],
)
def test_a_checkpoint_of_batchtopks_trainer_that_would_be_encoded_wrongly_is_refused(
    tmp_path: Path, changes: dict[str, Any], word: str
) -> None:
    with pytest.raises(InputError, match=word):
        load_sae(sae_path=batchtopk(tmp_path, weights(), **changes))


def test_an_sae_at_a_file_address_is_a_path_and_another_address_says_what_to_do(tmp_path: Path) -> None:
    path = openai(tmp_path / "my saes/3.pt", weights())
    sae = load_sae(sae_path=path.as_uri())
    assert sae.identity["sae_path"] == str(path)
    with pytest.raises(InputError, match="sftp://bucket/sae: not a path of this machine: download it"):
        load_sae(sae_path="sftp://bucket/sae")
    assert encode(rows(), path.as_uri()).shape == (len(rows()), D_SAE)


@pytest.mark.parametrize("axes", ["token,layer,d", "layer,token,d"])
def test_a_crosscoder_takes_an_axis_of_layers_as_one_row(tmp_path: Path, axes: str) -> None:
    w = weights()
    torch.save(crosscoder_state(w), tmp_path / "cc_weights.pt")
    layers = rows().reshape(-1, N_LAYERS, D_IN // N_LAYERS)
    stacked = layers if axes.startswith("token") else layers.transpose(0, 1)
    np.save(tmp_path / "x.npy", stacked.contiguous().numpy())
    features = encode_files(tmp_path / "x.npy", tmp_path / "out", tmp_path / "cc_weights.pt", axes=axes, progress=False)
    expected = above(pre_activations(w, rows(), subtract=False), 0)
    assert ((features[:].toarray() != 0) == (expected != 0).numpy()).all()
    with pytest.raises(EncodeError, match="rows of 24, but the SAE takes 48"):
        chosen = {"select": "layer=0", "axes": axes}
        encode_files(tmp_path / "x.npy", tmp_path / "one", tmp_path / "cc_weights.pt", progress=False, **chosen)


@pytest.mark.parametrize(
    ("n_layers", "flags", "words"),
    [
        (N_LAYERS + 1, {"axes": "layer,token,d"}, f"as a crosscoder of {N_LAYERS} layers does: save its {N_LAYERS}"),
        (N_LAYERS, {}, f"give its {N_LAYERS} layers, in its order, as one array, and name the axes, one of them layer"),
        (N_LAYERS, {"axes": "layer,token,d", "select": "layer=0"}, "as one array, and leave --select layer=0 out"),
    ],
)
def test_who_has_other_layers_than_the_crosscoder_is_told_so(
    tmp_path: Path, n_layers: int, flags: dict[str, str], words: str
) -> None:
    torch.save(crosscoder_state(weights()), tmp_path / "cc_weights.pt")
    layers = torch.ones(n_layers, 30, D_IN // N_LAYERS)
    np.save(tmp_path / "x.npy", layers.numpy())
    with pytest.raises(EncodeError, match=words) as caught:
        encode_files(tmp_path / "x.npy", tmp_path / "out", tmp_path / "cc_weights.pt", progress=False, **flags)
    assert "choose with" not in str(caught.value), "one layer is not what a crosscoder takes"
