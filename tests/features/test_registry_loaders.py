"""Every loader of SAELens' registry, with a file of its true layout made small, by name and from a hub on loopback.

What is encoded is compared with SAELens' own module in float64.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub.constants as hub_constants
import numpy as np
import pytest
import torch
import yaml
from encoding import D_IN, D_SAE, make_module, save
from hub import HubProcess
from sae_lens import SAE
from sae_lens.loading.pretrained_sae_loaders import NAMED_PRETRAINED_SAE_LOADERS
from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory
from safetensors.torch import save_file
from test_loaders import K, assert_features, largest, pre_activations, rows, sparsify, weights

from encoder import load_sae
from encoder.errors import InputError
from encoder.sae.from_registry import memory_of

Weights = dict[str, torch.Tensor]
SMALL = {"d_in": D_IN, "d_sae": D_SAE}


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_yaml(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content))


def tensors(path: Path, **named: torch.Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    held = {name.replace("__", "."): tensor.contiguous() for name, tensor in named.items()}
    if path.suffix == ".safetensors":
        save_file(held, path)
    elif path.suffix == ".npz":
        np.savez(path, **{name: tensor.numpy() for name, tensor in held.items()})
    else:
        torch.save(held, path)


def linear(w: Weights) -> Weights:
    """Return the weights as two linear layers have them, with __ for the dot."""
    return {
        "encoder__weight": w["W_enc"].T, "encoder__bias": w["b_enc"], "decoder__weight": w["W_dec"].T,
        "decoder__bias": w["b_dec"],
    }  # fmt: skip


def sae_lens(repo: Path, folder: str, w: Weights) -> None:
    module = make_module("jumprelu")
    module.load_state_dict(w)
    save(module, repo / folder)


def gemma_2(repo: Path, folder: str, w: Weights) -> None:
    tensors(repo / folder / "params.npz", **w)


def gemma_3(repo: Path, folder: str, w: Weights) -> None:
    config = {
        "architecture": "jump_relu",
        "model_name": "gemma-v3-270m-pt",
        "hf_hook_point_in": "model.layers.1.output",
    }
    named = {name.lower(): tensor for name, tensor in w.items()}
    if "clt" in folder:  # one file a layer, and no configuration
        named["w_dec"] = torch.stack([w["W_dec"], 2 * w["W_dec"]], 1)
        tensors(repo / f"{folder}.safetensors", **named)
        return
    if folder.endswith("affine"):
        named["affine_skip_connection"], config["affine_connection"] = torch.ones(D_IN, D_IN), True
    write_json(repo / folder / "config.json", config)
    tensors(repo / folder / "params.safetensors", **named)


def connor_rob_hook_z(repo: Path, folder: str, w: Weights) -> None:
    tensors(repo / folder, **{name: w[name] for name in ("W_enc", "W_dec", "b_enc", "b_dec")})
    config = {"act_size": D_IN, "dict_size": D_SAE, "act_name": "blocks.0.attn.hook_z"}
    write_json(repo / (folder.split(".pt")[0] + "_cfg.json"), config)


def llama_scope(repo: Path, folder: str, w: Weights) -> None:
    factor = get_pretrained_saes_directory()["llama_scope_lxr_8x"].norm_scaling_factor["l3r_8x"]
    config = {
        "d_model": D_IN, "d_sae": D_SAE, "jump_relu_threshold": 0.2, "hook_point_in": "blocks.3.hook_resid_post",
        "dataset_average_activation_norm": {"in": D_IN**0.5 / factor, "out": D_IN**0.5 / factor},
    }  # fmt: skip
    write_json(repo / folder / "hyperparams.json", config)
    tensors(repo / folder / "checkpoints/final.safetensors", **linear(w))


def llama_scope_r1_distill(repo: Path, folder: str, w: Weights) -> None:
    config = {"d_model": D_IN, "expansion_factor": 2, "hook_point_in": "blocks.2.hook_resid_post", "act_fn": "jumprelu"}
    write_json(repo / folder / "config.json", config)
    n_more = 2 * D_IN - D_SAE
    wide = {name: torch.cat([tensor, tensor[:n_more]]) for name, tensor in linear(w).items() if name[0] == "e"}
    wide |= {"decoder__weight": torch.cat([w["W_dec"], w["W_dec"][:n_more]]).T, "decoder__bias": w["b_dec"]}
    threshold = torch.cat([w["threshold"], w["threshold"][:n_more]]).clamp_min(0.1).log()
    tensors(repo / folder / "sae_weights.safetensors", **wide, log_jumprelu_threshold=threshold)


def dictionary_learning_1(repo: Path, folder: str, w: Weights) -> None:
    trainer = {
        "dict_class": "BatchTopKSAE", "activation_dim": D_IN, "dict_size": D_SAE, "k": K, "layer": 3,
        "lm_name": "openai/gpt-oss-20b",
    }  # fmt: skip
    write_json(repo / folder / "config.json", {"trainer": trainer, "buffer": {"ctx_len": 128}})
    named = {name: tensor for name, tensor in linear(w).items() if name != "decoder__bias"}
    tensors(repo / folder / "ae.pt", **named, b_dec=w["b_dec"], k=torch.tensor(K), threshold=torch.tensor(0.7))


def deepseek_r1(repo: Path, folder: str, w: Weights) -> None:
    tensors(repo / folder, **linear(w))


def goodfire(repo: Path, folder: str, w: Weights) -> None:
    tensors(repo / folder, **{name.replace("__", "_linear__"): tensor for name, tensor in linear(w).items()})


def qwen_scope(repo: Path, folder: str, w: Weights) -> None:
    tensors(repo / folder, W_enc=w["W_enc"].T, W_dec=w["W_dec"].T, b_enc=w["b_enc"], b_dec=w["b_dec"])


def mwhanna_transcoder(repo: Path, folder: str, w: Weights) -> None:
    values = {"d_model": {"value": D_IN}, "d_feature": {"value": D_SAE}, "batch_size": {"value": 4}}
    write_yaml(repo / "wanb-config.yaml", values)  # so misspelt in some of the repositories
    write_yaml(repo / "config.yaml", {"model_name": "Qwen/Qwen3-4B"})
    tensors(repo / folder, W_enc=w["W_enc"].T, W_dec=w["W_dec"], b_enc=w["b_enc"], b_dec=w["b_dec"])


def mntss_clt_layer_transcoder(repo: Path, folder: str, w: Weights) -> None:
    hooks = {"feature_input_hook": "hook_resid_mid", "feature_output_hook": "hook_mlp_out"}
    write_yaml(repo / "config.yaml", {"model_name": "google/gemma-2-2b", **hooks})
    named = {"W_enc": w["W_enc"].T, "b_enc": w["b_enc"], "b_dec": w["b_dec"]}
    tensors(repo / f"W_enc_{folder}.safetensors", **{f"{name}_{folder}": tensor for name, tensor in named.items()})
    decoder = {f"W_dec_{folder}": torch.stack([w["W_dec"], w["W_dec"]], 1)}
    tensors(repo / f"W_dec_{folder}.safetensors", **decoder)


Writer = Callable[[Path, str, Weights], None]
CASES: list[tuple[Writer, str, str, dict[str, Any]]] = [
    (sae_lens, "gpt2-small-res-jb", "blocks.0.hook_resid_pre", {}),
    (gemma_2, "gemma-scope-2b-pt-res", "layer_3/width_16k/average_l0_28", SMALL),
    (gemma_2, "gemma-scope-2b-pt-res", "embedding/width_4k/average_l0_6", SMALL),
    (gemma_2, "gemma-scope-2b-pt-att-canonical", "layer_1/width_16k/canonical", SMALL),
    (gemma_2, "gemma-scope-2b-pt-transcoders", "layer_1/width_16k/average_l0_65", SMALL | {"d_out": D_IN}),
    (gemma_3, "gemma-scope-2-270m-pt-res", "layer_12_width_16k_l0_small", {}),
    (gemma_3, "gemma-scope-2-4b-pt-transcoders-all", "layer_0_width_16k_l0_big", {}),
    (gemma_3, "gemma-scope-2-4b-pt-transcoders-all", "layer_0_width_16k_l0_big_affine", {}),
    (connor_rob_hook_z, "gpt2-small-hook-z-kk", "blocks.0.hook_z", {}),
    (llama_scope, "llama_scope_lxr_8x", "l3r_8x", {}),
    (llama_scope_r1_distill, "llama_scope_r1_distill", "l1r_800m_slimpajama", {}),
    (dictionary_learning_1, "gpt-oss-20b-andyrdt", "resid_post_layer_3_trainer_0", {}),
    (deepseek_r1, "deepseek-r1-distill-llama-8b-qresearch", "blocks.19.hook_resid_post", SMALL),
    (goodfire, "goodfire-llama-3.1-8b-instruct", "layer_19", SMALL),
    (qwen_scope, "qwen-scope-3-1.7b-base-w32k-l50", "layer3", SMALL | {"k": K}),
    (mwhanna_transcoder, "mwhanna-qwen3-4b-transcoders", "layer_2", {}),
    (mntss_clt_layer_transcoder, "mntss-gemma-2-2b-2.5m-clt-as-per-layer", "layer_1", {}),
]
LOADER_OF = {"gemma-scope-2b-pt-transcoders": "gemma_2_transcoder"}
"""Releases whose loader reads the files of another loader."""
REFUSED = {"temporal": "needs whole texts"}
NOT_IN_THE_REGISTRY = {"sparsify"}


@pytest.fixture(name="repositories", scope="module")
def make_repositories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give the folder of the repositories that the hub serves, to which huggingface_hub goes for as long."""
    root = tmp_path_factory.mktemp("repositories").resolve()
    with HubProcess("*", root) as hub, pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub_constants, "ENDPOINT", hub.endpoint)
        patch.setattr(
            hub_constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        )
        patch.setattr(hub_constants, "HF_HUB_CACHE", str(root.parent / "cache"))
        patch.setattr("encoder.sae.from_registry.HF_HUB_CACHE", str(root.parent / "cache"))
        patch.setattr(
            "sae_lens.loading.pretrained_sae_loaders.hf_hub_url",
            lambda repo, name: f"{hub.endpoint}/{repo}/resolve/main/{name}",
        )
        patch.setenv("NO_PROXY", "*")
        yield root


def test_every_loader_of_sae_lens_is_tried() -> None:
    tried = {LOADER_OF.get(release, write.__name__) for write, release, _, _ in CASES}
    assert tried | {*REFUSED} | NOT_IN_THE_REGISTRY == set(NAMED_PRETRAINED_SAE_LOADERS)
    directory = get_pretrained_saes_directory()
    for write, release, _, _ in CASES:
        assert (directory[release].conversion_func or "sae_lens") == LOADER_OF.get(release, write.__name__)
    assert not NOT_IN_THE_REGISTRY & {entry.conversion_func for entry in directory.values()}


@pytest.mark.parametrize(
    ("write", "release", "sae_id", "overrides"),
    CASES,
    ids=[f"{write.__name__}-{sae_id}" for write, _, sae_id, _ in CASES],
)
def test_an_sae_loads_by_name_as_sae_lens_loads_it(
    repositories: Path,
    monkeypatch: pytest.MonkeyPatch,
    write: Writer,
    release: str,
    sae_id: str,
    overrides: dict[str, Any],
) -> None:
    known = get_pretrained_saes_directory()[release]
    monkeypatch.setattr(known, "config_overrides", {**(known.config_overrides or {}), **overrides})
    write(repositories / known.repo_id, known.saes_map[sae_id], weights())
    sae = load_sae(release, sae_id)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = SAE.from_pretrained(release, sae_id).double()
        theirs.dtype = torch.float64
    x = rows().double()
    expected = theirs.encode(x.unsqueeze(-2) if theirs.cfg.reshape_activations == "hook_z" else x)
    assert_features(sae, expected.detach())
    said = theirs.cfg.metadata
    assert sae.hook_name == (said.hook_name or "") and sae.model_name in (said.model_name or "", known.model)
    assert sae.identity["neuronpedia_id"] == known.neuronpedia_id[sae_id]


def test_a_temporal_sae_is_refused_before_anything_is_downloaded(repositories: Path) -> None:
    for release in ("temporal-sae-gemma-2-2b", "temporal-sae-llama-3.1-8b"):
        (sae_id, *_) = get_pretrained_saes_directory()[release].saes_map
        with pytest.raises(InputError, match="temporal SAE needs whole texts, not single tokens"):
            load_sae(release, sae_id)


def test_an_sae_of_sparsify_is_encoded_as_sparsify_does_it(repositories: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No release of the registry has this loader yet; SAELens' own takes normalize_decoder for the sign of b_dec."""
    w, directory = weights(), get_pretrained_saes_directory()
    entry = replace(directory["gpt2-small-res-jb"], repo_id="own/sparsify", conversion_func="sparsify")
    monkeypatch.setitem(directory, "own", replace(entry, saes_map={"layers.3": "layers.3"}, config_overrides=None))
    sparsify(repositories / "own/sparsify/layers.3", w)
    assert_features(load_sae("own", "layers.3"), largest(pre_activations(w, rows(), subtract=True)))


class Evil:
    """Makes a folder when a pickle of it is executed."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.made),)


@pytest.mark.parametrize("forced", ["0", "1"])
def test_a_repositorys_pickle_is_read_as_data_whatever_the_environment_says(
    repositories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forced: str
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", forced)
    release, sae_id = "goodfire-llama-3.3-70b-instruct", "layer_50"
    known = get_pretrained_saes_directory()[release]
    path = repositories / known.repo_id / known.saes_map[sae_id]
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"encoder_linear.weight": Evil(tmp_path / "made")}, path)
    with pytest.raises(InputError, match="needs pickle, which can run code"):
        load_sae(release, sae_id)
    assert not (tmp_path / "made").exists() and os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] == forced


def test_an_sae_that_takes_more_memory_than_is_free_is_refused_before_its_weights_are_downloaded(
    repositories: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, sae_id, d_sae = "gpt2-small-res-jb", "blocks.3.hook_resid_pre", 1 << 32
    known = get_pretrained_saes_directory()[release]
    repo, folder = repositories / known.repo_id, known.saes_map[sae_id]
    sae_lens(repo, folder, weights())
    (repo / folder / "sae_weights.safetensors").unlink()
    config = json.loads((repo / folder / "cfg.json").read_text())
    write_json(repo / folder / "cfg.json", config | {"d_sae": d_sae})
    said = f"for {D_IN} inputs and {d_sae:,} features: .* are free on this machine"
    with pytest.raises(InputError, match=f"{release} {sae_id}: takes 3,.*{said}"):
        load_sae(release, sae_id)


def test_a_layer_of_a_cross_layer_transcoder_is_read_with_all_its_decoders(repositories: Path) -> None:
    release, sae_id = "mntss-gemma-2-2b-2.5m-clt-as-per-layer", "layer_2"
    known = get_pretrained_saes_directory()[release]
    mntss_clt_layer_transcoder(repositories / known.repo_id, known.saes_map[sae_id], weights())
    memory = memory_of(release, sae_id)
    assert memory is not None and (memory.d_in, memory.d_sae) == (D_IN, D_SAE)
    assert memory.reading == 4 * (3 * D_IN * D_SAE + D_SAE + D_IN)
