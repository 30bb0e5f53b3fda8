"""SAEs as their trainers leave or publish them: known by their content, and encoded as the trainers encode."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import encoding
import numpy as np
import pytest
import torch
from encoding import D_IN, D_SAE, dense
from safetensors.torch import save_file

import encoder
from encoder.errors import InputError
from encoder.kernels import make_kernel
from encoder.sae.sae import LoadedSae

K = 5


def weights(seed: int = 0) -> dict[str, torch.Tensor]:
    """Return weights with norms other than 1 and biases other than 0."""
    generator = torch.Generator().manual_seed(seed)
    W_enc = torch.randn(D_IN, D_SAE, generator=generator) * 0.3
    return {
        "W_enc": W_enc,
        "W_dec": (W_enc.T + torch.randn(D_SAE, D_IN, generator=generator) * 0.1).contiguous(),
        "b_enc": torch.randn(D_SAE, generator=generator) * 0.3,
        "b_dec": torch.randn(D_IN, generator=generator),
        "threshold": torch.rand(D_SAE, generator=generator) * 2,
    }


def rows(n: int = 40) -> torch.Tensor:
    return torch.randn(n, D_IN, generator=torch.Generator().manual_seed(5)) * 2


def pre_activations(w: dict[str, torch.Tensor], x: torch.Tensor, *, subtract: bool) -> torch.Tensor:
    x = x.double() - (w["b_dec"].double() if subtract else 0)
    return x @ w["W_enc"].double() + w["b_enc"].double()


def above(h: torch.Tensor, threshold: torch.Tensor | float) -> torch.Tensor:
    return torch.where((h > threshold) & (h > 0), h, 0)


def largest(h: torch.Tensor, k: int = K) -> torch.Tensor:
    h = h.relu()
    return torch.zeros_like(h).scatter(1, h.topk(k, dim=1).indices, h.topk(k, dim=1).values)


def assert_features(sae: LoadedSae, expected: torch.Tensor) -> None:
    assert 0 < expected.count_nonzero() < expected.numel()
    found = torch.from_numpy(dense(make_kernel(sae, torch.device("cpu"), "auto").encode(rows()))).double()
    np.testing.assert_array_equal((found != 0).numpy(), (expected != 0).numpy())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def write(folder: Path, name: str, content: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))
    return folder


# sparsify

SPARSIFY = {
    "activation": "topk", "expansion_factor": 32, "normalize_decoder": True, "num_latents": D_SAE, "k": K,
    "multi_topk": False, "skip_connection": False, "transcode": False, "d_in": D_IN,
}  # fmt: skip


def sparsify(folder: Path, w: dict[str, torch.Tensor], **changes: Any) -> Path:
    write(folder, "cfg.json", SPARSIFY | changes)
    tensors = {"encoder.weight": w["W_enc"].T.contiguous(), "encoder.bias": w["b_enc"], "W_dec": w["W_dec"]}
    save_file(tensors | {"b_dec": w["b_dec"]}, folder / "sae.safetensors")
    return folder


@pytest.mark.parametrize("normalize_decoder", [True, False])
def test_a_folder_of_sparsify_subtracts_the_decoders_bias_always(tmp_path: Path, normalize_decoder: bool) -> None:
    """SAELens' loader takes normalize_decoder for the sign of it."""
    w = weights()
    folder = sparsify(tmp_path / "layers.10", w, normalize_decoder=normalize_decoder)
    for path in (folder, folder / "sae.safetensors"):
        sae = encoder.load_sae(sae_path=path)
        assert_features(sae, largest(pre_activations(w, rows(), subtract=True)))
        assert sae.hook_name == "blocks.10.hook_resid_post" and sae.architecture == "topk" and sae.rebuilds


def test_a_transcoder_of_sparsify_subtracts_nothing_and_rebuilds_nothing(tmp_path: Path) -> None:
    w = weights()
    sae = encoder.load_sae(sae_path=sparsify(tmp_path / "layers.10.mlp", w, transcode=True))
    assert_features(sae, largest(pre_activations(w, rows(), subtract=False)))
    assert not sae.rebuilds


SPARSIFY_REFUSED = [
    ({"activation": "groupmax"}, "activation is 'groupmax'"),
    ({"signed": True}, "signed is True"),
    ({"k": 0}, "k is 0"),
    ({"k": D_SAE + 1}, f"whole number from 1 to {D_SAE}"),
    ({"k": None}, "k is None"),
    ({"d_in": 7}, "says 7 inputs"),
    ({"num_latents": 7}, "7 latents"),
    ({"pre_norm": 2.0}, "'pre_norm'"),
]


@pytest.mark.parametrize(("changes", "word"), SPARSIFY_REFUSED)
def test_a_folder_of_sparsify_that_would_be_encoded_wrongly_is_refused(
    tmp_path: Path, changes: dict[str, Any], word: str
) -> None:
    with pytest.raises(InputError) as refused:
        encoder.load_sae(sae_path=sparsify(tmp_path / "layers.10", weights(), **changes))
    assert word in str(refused.value)


# Gemma Scope 2

GEMMA_SCOPE_2 = {
    "architecture": "jump_relu", "width": D_SAE, "l0": 60, "affine_connection": False, "type": "sae",
    "hf_hook_point_in": "model.layers.17.output", "hf_hook_point_out": "model.layers.17.output",
    "model_name": "google/gemma-3-4b-pt",
}  # fmt: skip


def gemma_scope_2(folder: Path, w: dict[str, torch.Tensor], **changes: Any) -> Path:
    write(folder, "config.json", GEMMA_SCOPE_2 | changes)
    save_file({name.lower(): tensor for name, tensor in w.items()}, folder / "params.safetensors")
    return folder


@pytest.mark.parametrize(
    ("at", "hook_name"),
    [
        ("model.layers.17.output", "blocks.17.hook_resid_post"),
        ("model.layers.3.self_attn.o_proj.input", "blocks.3.attn.hook_z"),
        ("model.layers.3.post_feedforward_layernorm.output", "blocks.3.hook_mlp_out"),
        ("model.somewhere.else", "model.somewhere.else"),
    ],
)
def test_a_folder_of_gemma_scope_2_is_a_jumprelu_sae(tmp_path: Path, at: str, hook_name: str) -> None:
    w = weights()
    folder = gemma_scope_2(tmp_path / "layer_17", w, hf_hook_point_in=at, hf_hook_point_out=at)
    for path in (folder, folder / "params.safetensors"):
        sae = encoder.load_sae(sae_path=path)
        assert_features(sae, above(pre_activations(w, rows(), subtract=False), w["threshold"].double()))
        assert sae.hook_name == hook_name and sae.model_name == "google/gemma-3-4b-pt" and sae.rebuilds


@pytest.mark.parametrize("affine", [True, False])
def test_a_transcoder_of_gemma_scope_2_has_features_of_its_input(tmp_path: Path, affine: bool) -> None:
    w = weights()
    w["W_dec"], w["b_dec"] = encoding.noise(D_SAE, 9), encoding.noise(9)
    extra = {"affine_skip_connection": encoding.noise(D_IN, 9)} if affine else {}
    out = "model.layers.17.post_feedforward_layernorm.output"
    folder = gemma_scope_2(tmp_path, w | extra, type="transcoder", hf_hook_point_out=out, affine_connection=affine)
    sae = encoder.load_sae(sae_path=folder)
    assert_features(sae, above(pre_activations(w, rows(), subtract=False), w["threshold"].double()))
    assert not sae.rebuilds


def test_a_folder_of_gemma_scope_2_that_is_something_else_is_refused(tmp_path: Path) -> None:
    for changes, word in (
        ({"architecture": "topk"}, "'topk'"),
        ({"width": 7}, "width is 7"),
        ({"scale": 2}, "'scale'"),
    ):
        with pytest.raises(InputError) as refused:
            encoder.load_sae(sae_path=gemma_scope_2(tmp_path, weights(), **changes))
        assert word in str(refused.value)
    stacked = weights() | {"W_enc": encoding.noise(2, D_IN, D_SAE)}  # a crosscoder's
    with pytest.raises(InputError, match="W_enc in two dimensions"):
        encoder.load_sae(sae_path=gemma_scope_2(tmp_path, stacked))


# Gemma Scope


def test_the_folders_of_gemma_scope_say_the_hook(tmp_path: Path) -> None:
    for site, hook in (("res", "hook_resid_post"), ("mlp", "hook_mlp_out"), ("att", "attn.hook_z")):
        folder = tmp_path / f"gemma-scope-2b-pt-{site}/layer_16/width_16k/average_l0_78"
        folder.mkdir(parents=True)
        encoding.save_params(folder / "params.npz", weights())
        for path in (folder, folder / "params.npz"):
            assert encoder.load_sae(sae_path=path).hook_name == f"blocks.16.{hook}"
    encoding.save_params(tmp_path / "params.npz", weights())
    assert encoder.load_sae(sae_path=tmp_path / "params.npz").hook_name == ""


# dictionary_learning


def linear(w: dict[str, torch.Tensor], bias: str, *, encoder_bias: bool = True) -> dict[str, torch.Tensor]:
    named = {"encoder.weight": w["W_enc"].T, "decoder.weight": w["W_dec"].T, bias: w["b_dec"]}
    return named | ({"encoder.bias": w["b_enc"]} if encoder_bias else {})


def gated(w: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    more = {"r_mag": torch.linspace(-1, 1, D_SAE), "gate_bias": w["b_enc"], "mag_bias": w["b_enc"].flip(0)}
    return linear(w, "decoder_bias", encoder_bias=False) | more


def gated_truth(w: dict[str, torch.Tensor]) -> torch.Tensor:
    h = (rows().double() - w["b_dec"].double()) @ w["W_enc"].double()
    magnitude = torch.linspace(-1, 1, D_SAE).double().exp() * h + w["b_enc"].flip(0).double()
    return torch.where(h + w["b_enc"].double() > 0, magnitude.relu(), 0)


ONE = torch.tensor(1.25)
BUFFERS = {"k": torch.tensor(K, dtype=torch.int), "threshold": ONE}
Weights = dict[str, torch.Tensor]
DICTIONARIES: dict[str, tuple[Callable[[Weights], Weights], Callable[[Weights], torch.Tensor]]] = {
    "AutoEncoder": (lambda w: linear(w, "bias"), lambda w: pre_activations(w, rows(), subtract=True).relu()),
    "AutoEncoderNew": (
        lambda w: linear(w, "decoder.bias"),
        lambda w: pre_activations(w, rows(), subtract=False).relu(),
    ),
    "GatedAutoEncoder": (gated, gated_truth),
    "JumpReluAutoEncoder": (
        lambda w: w,
        lambda w: above(pre_activations(w, rows(), subtract=False), w["threshold"].double()),
    ),
    "AutoEncoderTopK": (
        lambda w: linear(w, "b_dec") | BUFFERS,
        lambda w: largest(pre_activations(w, rows(), subtract=True)),
    ),
    "BatchTopKSAE": (
        lambda w: linear(w, "b_dec") | BUFFERS,
        lambda w: above(pre_activations(w, rows(), subtract=True), 1.25),
    ),
    "MatryoshkaBatchTopKSAE": (
        lambda w: (
            {name: w[name] for name in ("W_enc", "W_dec", "b_enc", "b_dec")}
            | BUFFERS
            | {"group_sizes": torch.tensor([16, 48])}
        ),
        lambda w: above(pre_activations(w, rows(), subtract=True), 1.25),
    ),
}


def dictionary(folder: Path, name: str, w: Weights, file: str = "ae.pt", **changes: Any) -> Path:
    trainer = {
        "dict_class": name, "trainer_class": "T", "activation_dim": D_IN, "dict_size": D_SAE, "lr": 1e-3, "k": K,
        "layer": 3, "lm_name": "EleutherAI/pythia-70m-deduped", "submodule_name": "resid_post_layer_3",
        "norm_factor": 9.0,
    }  # fmt: skip
    write(folder, "config.json", {"trainer": trainer | changes, "buffer": {"ctx_len": 128}})
    (folder / file).parent.mkdir(exist_ok=True)
    torch.save({key: tensor.contiguous() for key, tensor in DICTIONARIES[name][0](w).items()}, folder / file)
    return folder


@pytest.mark.parametrize("name", DICTIONARIES)
def test_every_class_of_dictionary_learning_is_encoded_by_its_own_rule(name: str, tmp_path: Path) -> None:
    w = weights()
    folder = dictionary(tmp_path, name, w)
    dictionary(tmp_path, name, w, file="checkpoints/ae_100.pt")
    for path in (folder, folder / "ae.pt", folder / "checkpoints/ae_100.pt"):
        sae = encoder.load_sae(sae_path=path)
        assert_features(sae, DICTIONARIES[name][1](w))
        assert sae.hook_name == "resid_post_layer_3" and sae.rebuilds


def test_a_dictionary_that_would_be_encoded_wrongly_is_refused(tmp_path: Path) -> None:
    for name, changes, word in [
        ("AutoEncoderTopK", {"k": 6}, f"k is 6 in config.json, but {K} in ae.pt"),
        ("AutoEncoderTopK", {"k": None}, "k is None"),
        ("AutoEncoder", {"dict_class": "BatchTopKCrossCoder"}, "'BatchTopKCrossCoder'"),
        ("BatchTopKSAE", {"dict_class": "AutoEncoder"}, "has threshold"),
        ("AutoEncoder", {"activation_dim": 9}, "activation_dim is 9"),
        ("AutoEncoder", {"normalize_inputs": True}, "'normalize_inputs'"),
    ]:
        with pytest.raises(InputError) as refused:
            encoder.load_sae(sae_path=dictionary(tmp_path, name, weights(), **changes))
        assert word in str(refused.value), (changes, str(refused.value))


def test_a_threshold_that_was_never_trained_lets_everything_above_zero_through(tmp_path: Path) -> None:
    w = weights()
    folder = dictionary(tmp_path, "BatchTopKSAE", w)
    state = torch.load(folder / "ae.pt", weights_only=True)
    torch.save(state | {"threshold": torch.tensor(-1.0)}, folder / "ae.pt")
    sae = encoder.load_sae(sae_path=folder)
    assert_features(sae, pre_activations(w, rows(), subtract=True).relu())
    assert "never trained" in sae.notes[0]


def test_a_pickle_is_not_executed(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "executed",))

    folder = dictionary(tmp_path, "AutoEncoder", weights())
    torch.save({"encoder.weight": Evil()}, folder / "ae.pt")
    with pytest.raises(InputError, match="not a readable file of tensors"):
        encoder.load_sae(sae_path=folder)
    assert not (tmp_path / "executed").exists()


# Llama Scope and Qwen-Scope


def llama_scope(folder: Path, w: Weights, **changes: Any) -> Path:
    config = {
        "d_model": D_IN, "d_sae": D_SAE, "jump_relu_threshold": 0.7, "hook_point_in": "blocks.15.hook_resid_post",
        "dataset_average_activation_norm": {"in": 20.0, "out": 20.0}, "norm_activation": "dataset-wise",
        "act_fn": "jumprelu", "apply_decoder_bias_to_pre_encoder": False,
        "use_decoder_bias": True, "init_encoder_with_decoder_transpose": True, "decoder_exactly_fixed_norm": False,
        "init_decoder_norm": 0.5, "top_k": 50,
    }  # fmt: skip
    write(folder, "hyperparams.json", config | changes)
    (folder / "checkpoints").mkdir(exist_ok=True)
    named = {name: tensor.contiguous() for name, tensor in linear(w, "decoder.bias").items()}
    save_file(named, folder / "checkpoints/final.safetensors")
    return folder


def test_a_folder_of_llama_scope_scales_activations_and_threshold(tmp_path: Path) -> None:
    w = weights()
    sae = encoder.load_sae(sae_path=llama_scope(tmp_path, w))
    factor = D_IN**0.5 / 20
    h = (rows().double() * factor) @ w["W_enc"].double() + w["b_enc"].double()
    assert_features(sae, above(h, 0.7 * factor))
    assert sae.hook_name == "blocks.15.hook_resid_post"


def test_a_threshold_on_features_times_the_decoders_norm_is_divided_by_the_norm(tmp_path: Path) -> None:
    """As the trainer does it for inference: mean norms into bias and decoder, the decoder's norms into features."""
    w = weights()
    norms = {"in": 20.0, "out": 30.0}
    changes = {"sparsity_include_decoder_norm": True, "dataset_average_activation_norm": norms}
    sae = encoder.load_sae(sae_path=llama_scope(tmp_path, w, **changes))
    factor, out = D_IN**0.5 / 20, D_IN**0.5 / 30
    norm = (w["W_dec"].double() * factor / out).norm(dim=1)
    inferred = (rows().double() @ w["W_enc"].double() + w["b_enc"].double() / factor) * norm
    assert_features(sae, torch.where(inferred > 0.7, inferred / norm * factor, 0))


def lm_saes(folder: Path, w: Weights, *, new: bool, norm: float | None = 20.0, **changes: Any) -> Path:
    """Write what Language-Model-SAEs saves, in 2025 and since."""
    config = {
        "sae_type": "sae", "d_model": D_IN, "expansion_factor": D_SAE / D_IN, "act_fn": "jumprelu", "top_k": K,
        "hook_point_in": "blocks.2.hook_resid_post", "hook_point_out": "blocks.2.hook_resid_post",
        "norm_activation": "dataset-wise", "sparsity_include_decoder_norm": True, "use_decoder_bias": True,
        "use_glu_encoder": False, "jumprelu_threshold_window": 2.0, "dtype": "torch.float32", "device": "cuda",
        "use_triton_kernel": False, "sparsity_threshold_for_triton_spmm_kernel": 0.99,
    }  # fmt: skip
    write(folder, "config.json", config | changes)
    if new:
        named = {"W_E": w["W_enc"], "b_E": w["b_enc"], "W_D": w["W_dec"], "b_D": w["b_dec"]}
    else:
        named = linear(w, "decoder.bias")
    threshold = "activation_function.log_jumprelu_threshold" if new else "log_jumprelu_threshold"
    if (config | changes)["act_fn"] == "jumprelu":
        named = named | {threshold: (w["threshold"] + 0.1).log()}
    if norm is not None:
        named = named | {"dataset_average_activation_norm.blocks.2.hook_resid_post": torch.tensor(norm)}
    save_file({name: tensor.contiguous() for name, tensor in named.items()}, folder / "sae_weights.safetensors")
    return folder


@pytest.mark.parametrize("new", [False, True])
@pytest.mark.parametrize("by_norm", [False, True])
@pytest.mark.parametrize("norm_activation", ["dataset-wise", "inference"])
def test_language_model_saes_gate_on_features_times_the_decoders_norm(
    tmp_path: Path, norm_activation: str, *, by_norm: bool, new: bool
) -> None:
    w = weights()
    changes = {"sparsity_include_decoder_norm": by_norm, "norm_activation": norm_activation}
    sae = encoder.load_sae(sae_path=lm_saes(tmp_path, w, new=new, **changes))
    x = rows().double() * (D_IN**0.5 / 20 if norm_activation == "dataset-wise" else 1)
    norm = w["W_dec"].double().norm(dim=1) if by_norm else torch.ones(D_SAE).double()
    h = (x @ w["W_enc"].double() + w["b_enc"].double()) * norm
    assert_features(sae, torch.where(h > w["threshold"].double() + 0.1, h, 0) / norm)
    assert sae.hook_name == "blocks.2.hook_resid_post" and sae.rebuilds


def test_topk_of_language_model_saes_takes_the_largest_times_the_decoders_norm(tmp_path: Path) -> None:
    w = weights()
    norm = w["W_dec"].double().norm(dim=1)
    h = (rows().double() * D_IN**0.5 / 20) @ w["W_enc"].double() + w["b_enc"].double()
    sae = encoder.load_sae(sae_path=lm_saes(tmp_path / "norm", w, new=True, act_fn="topk"))
    assert_features(sae, largest(h * norm))
    assert "multiplied by the norms" in str(sae.notes)
    plain = lm_saes(tmp_path / "plain", w, new=True, act_fn="topk", sparsity_include_decoder_norm=False)
    assert_features(encoder.load_sae(sae_path=plain), largest(h))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"sae_type": "crosscoder"}, "sae_type is 'crosscoder'"),
        ({"act_fn": "batchtopk"}, "act_fn is 'batchtopk'"),
        ({"norm_activation": "token-wise"}, "norm_activation is 'token-wise'"),
        ({"use_glu_encoder": True}, "use_glu_encoder is True"),
        ({"hidden_gain": 3}, "'hidden_gain'"),
        ({"act_fn": "topk", "top_k": None}, "top_k is None"),
        ({"d_model": 7}, "says 7 inputs"),
        ({"expansion_factor": 9}, f"{9 * D_IN} features"),
        ({"norm": None}, "dataset_average_activation_norm.blocks.2.hook_resid_post"),
    ],
)
def test_a_folder_of_language_model_saes_that_would_be_encoded_wrongly_is_refused(
    tmp_path: Path, changes: dict[str, Any], word: str
) -> None:
    with pytest.raises(InputError) as refused:
        encoder.load_sae(sae_path=lm_saes(tmp_path, weights(), new=False, **changes))
    assert word in str(refused.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"act_fn": "topk"},
        {"norm_activation": "token-wise"},
        {"apply_decoder_bias_to_pre_encoder": True},
        {"dataset_average_activation_norm": None},
        {"dataset_average_activation_norm": {"in": 0.0}},
        {"jump_relu_threshold": None},
        {"hidden_gain": 3},
    ],
)
def test_a_folder_of_llama_scope_that_would_be_encoded_wrongly_is_refused(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(InputError) as refused:
        encoder.load_sae(sae_path=llama_scope(tmp_path, weights(), **changes))
    assert next(iter(changes)) in str(refused.value)


def test_a_file_of_qwen_scope_takes_k_from_its_repositorys_name(tmp_path: Path) -> None:
    w = weights()
    folder = tmp_path / f"SAE-Res-Qwen3-1.7B-Base-W32K-L0_{K}"
    folder.mkdir()
    named = {"W_enc": w["W_enc"].T, "W_dec": w["W_dec"].T, "b_enc": w["b_enc"], "b_dec": w["b_dec"]}
    for place in (folder, tmp_path):
        torch.save({name: tensor.contiguous() for name, tensor in named.items()}, place / "layer7.sae.pt")
    sae = encoder.load_sae(sae_path=folder / "layer7.sae.pt")
    assert_features(sae, largest(pre_activations(w, rows(), subtract=False)))
    assert (sae.hook_name, sae.model_name) == ("blocks.7.hook_resid_post", "Qwen/Qwen3-1.7B-Base")
    with pytest.raises(InputError, match="SAE-Res-Qwen3-8B-Base-W64K-L0_50"):
        encoder.load_sae(sae_path=tmp_path / "layer7.sae.pt")


# What is none of these


def test_a_path_of_another_kind_is_refused_with_the_layouts_that_are_known(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("hello")
    for path in (tmp_path, tmp_path / "readme.txt"):
        with pytest.raises(InputError, match="no SAE in a layout that is known") as refused:
            encoder.load_sae(sae_path=path)
        assert "sae_weights.safetensors" in str(refused.value) and "dictionary_learning" in str(refused.value)


def test_a_folder_of_two_saes_is_refused_with_both(tmp_path: Path) -> None:
    sparsify(tmp_path, weights())
    encoding.save_params(tmp_path / "params.npz", weights())
    with pytest.raises(InputError, match=r"params\.npz and sae\.safetensors"):
        encoder.load_sae(sae_path=tmp_path)
    encoder.load_sae(sae_path=tmp_path / "params.npz")


@pytest.mark.parametrize("make", [sparsify, gemma_scope_2, llama_scope])
@pytest.mark.parametrize("damage", ["no configuration", "no weights", "a list", "cut", "one weight less", "one more"])
def test_a_damaged_folder_is_refused_in_one_line(
    tmp_path: Path, make: Callable[[Path, Weights], Path], damage: str
) -> None:
    from safetensors.torch import load_file

    folder = make(tmp_path / "layers.3", weights())
    config = next(path for path in folder.iterdir() if path.suffix == ".json")
    (stored,) = folder.rglob("*.safetensors")
    if damage == "no configuration":
        config.unlink()
    elif damage == "no weights":
        stored.unlink()
    elif damage == "a list":
        config.write_text("[]")
    elif damage == "cut":
        stored.write_bytes(stored.read_bytes()[:2000])
    else:
        tensors = load_file(stored)
        if damage == "one more":
            tensors["W_gain"] = torch.ones(D_SAE)
        else:
            tensors.pop(next(name for name in tensors if "dec" in name))
        save_file(tensors, stored)
    with pytest.raises(InputError) as refused:
        encoder.load_sae(sae_path=folder)
    assert str(folder) in str(refused.value) and "\n" not in str(refused.value)
