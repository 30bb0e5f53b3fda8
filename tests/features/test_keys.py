"""The table of configuration keys: complete for every SAELens that there was, and obeyed or refused key by key."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import encoding
import pytest
import sae_lens.loading.pretrained_sae_loaders as their_loaders
import torch
from encoding import D_IN, D_SAE, make_module
from sae_lens.config import LanguageModelSAERunnerConfig
from sae_lens.registry import SAE_CLASS_REGISTRY, SAE_TRAINING_CLASS_REGISTRY

import encoder
from encoder.errors import InputError
from encoder.sae.keys import DICTIONARY_LEARNING, GEMMA_SCOPE_2, LLAMA_SCOPE, SAE_LENS, SPARSIFY, Table

OLD = {
    "sae_lens_version": "3.22.2", "sae_lens_training_version": "3.22.2", "architecture": "standard", "d_in": D_IN,
    "d_sae": D_SAE, "dtype": "float32", "device": "cpu", "model_name": "gpt2-small", "activation_fn_str": "relu",
    "hook_name": "blocks.3.hook_resid_pre", "hook_layer": 3, "hook_head_index": None, "activation_fn_kwargs": {},
    "apply_b_dec_to_input": True, "finetuning_scaling_factor": False, "prepend_bos": True,
    "normalize_activations": "none", "dataset_path": "d", "context_size": 128, "dataset_trust_remote_code": True,
    "model_from_pretrained_kwargs": {},
}  # fmt: skip
"""cfg.json as SAELens 3 wrote it."""


def folder_with(folder: Path, kind: str = "standard", *, old: bool = False, **changes: Any) -> Path:
    """Write an SAE of SAELens whose cfg.json has these changes; a value of ... takes the key out."""
    settings = {"k": 5} if "topk" in kind else {}
    encoding.save(make_module(kind, **settings), folder)
    config = OLD if old else json.loads((folder / "cfg.json").read_text())
    written = {key: value for key, value in (config | changes).items() if value is not ...}
    (folder / "cfg.json").write_text(json.dumps(written))
    return folder


@pytest.mark.parametrize("table", [SAE_LENS, SPARSIFY, GEMMA_SCOPE_2, DICTIONARY_LEARNING, LLAMA_SCOPE])
def test_a_key_is_in_one_list_of_a_table(table: Table) -> None:
    keys = [*table.applied, *table.told.split(), *table.irrelevant.split()]
    assert len(keys) == len({*keys}) > 5


def test_the_table_has_every_key_that_the_installed_saelens_writes() -> None:
    """A SAELens that writes a new key makes this fail: somebody has to say what becomes of the key."""
    written = {field.name for field in fields(LanguageModelSAERunnerConfig)} - {"sae"}
    for _, config in [*SAE_CLASS_REGISTRY.values(), *SAE_TRAINING_CLASS_REGISTRY.values()]:
        written |= {field.name for field in fields(config)}
    written |= their_loaders.LLM_METADATA_KEYS
    assert {key for key in written if SAE_LENS.treatment(key) is None} == set()
    assert SAE_LENS.treatment("k") == "applied" and SAE_LENS.treatment("prepend_bos") == "told"
    assert SAE_LENS.treatment("lr") == "irrelevant" and SAE_LENS.treatment("telepathy") is None


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another activation function": (
        {"old": True, "activation_fn_str": "tanh-relu"},
        "activation_fn_str is 'tanh-relu'",
    ),
    "another name of it": ({"activation_fn": "gelu"}, "activation_fn is 'gelu'"),
    "topk without k": ({"old": True, "activation_fn_str": "topk"}, "activation_fn_kwargs has no k"),
    "topk under the newer name of the key": (
        {"activation_fn": "topk", "activation_fn_kwargs": {"k": 4}},
        "the architecture is 'standard'",
    ),
    "arguments beside k": (
        {"old": True, "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3, "postact_fn": "id"}},
        "postact_fn",
    ),
    "k that is missing": ({"architecture": "topk", "k": ...}, "needs k"),
    "k of 0": ({"architecture": "topk", "k": 0}, "k is 0"),
    "k of more than all": ({"architecture": "topk", "k": D_SAE + 1}, f"from 1 to {D_SAE}"),
    "k that is a fraction": ({"architecture": "topk", "k": 2.5}, "k is 2.5"),
    "k of an SAE that keeps all": ({"k": 4}, "k is 4"),
    "a normalisation under metadata": (
        {"metadata": {"normalize_activations": "layer_norm"}},
        "normalize_activations is 'layer_norm' under metadata",
    ),
    "a reshaping that SAELens passes over": ({"reshape_activations": "hook_q"}, "reshape_activations is 'hook_q'"),
    "a normalisation of other SAEs": ({"normalize_activations": "constant_scalar_rescale"}, "constant_scalar_rescale"),
    "a bias that is applied in part": ({"apply_b_dec_to_input": 0.5}, "apply_b_dec_to_input is 0.5"),
    "a flag that is a word": ({"rescale_acts_by_decoder_norm": "yes"}, "rescale_acts_by_decoder_norm is 'yes'"),
    "an unknown gain": ({"input_scale": 0.5}, "the key 'input_scale' (0.5)"),
    "an unknown flag": ({"subtract_mean": True}, "'subtract_mean'"),
    "an unknown flag that is off": ({"use_encoder_bias": False}, "'use_encoder_bias'"),
    "an unknown word": ({"flavour": "vanilla"}, "'flavour'"),
    "a key of training that speaks of norms": ({"train_norm": 2.0}, "'train_norm'"),
    "an architecture of nobody": ({"architecture": "telepathy"}, "'telepathy'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_setting_that_would_be_passed_over_is_refused_by_name(name: str, tmp_path: Path) -> None:
    changes, word = REFUSED[name]
    kind = changes.get("architecture", "standard")
    with pytest.raises(InputError) as refused:
        encoder.load_sae(sae_path=folder_with(tmp_path, "topk" if kind == "topk" else "standard", **changes))
    assert word in str(refused.value) and str(tmp_path) in str(refused.value) and "\n" not in str(refused.value)


HARMLESS: dict[str, dict[str, Any]] = {
    "an empty key": {"input_scale": None},
    "what is about the run": {"wandb_url": "https://x", "training_loss": 0.1, "author": "me", "notes": "best"},
    "what stands under metadata": {"metadata": {"sae_lens_version": "6.54.12", "anything": 3, "training_norm": 2}},
    "training keys of SAELens 5": {"jumprelu_init_threshold": 0.1, "lp_norm": 1.0, "noise_scale": 0.2},
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_cannot_change_features_changes_nothing(name: str, tmp_path: Path) -> None:
    plain = encoder.load_sae(sae_path=folder_with(tmp_path / "plain"))
    sae = encoder.load_sae(sae_path=folder_with(tmp_path / "other", **HARMLESS[name]))
    assert sae.identity["weights_sha256"] == plain.identity["weights_sha256"]
    assert not any("is not used" in note for note in sae.notes)


def test_an_old_configuration_is_read_as_saelens_reads_it(tmp_path: Path) -> None:
    sae = encoder.load_sae(sae_path=folder_with(tmp_path / "standard", old=True))
    assert (sae.architecture, sae.hook_name, sae.model_name) == ("standard", "blocks.3.hook_resid_pre", "gpt2-small")
    kwargs = {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 7}}
    sae = encoder.load_sae(sae_path=folder_with(tmp_path / "topk", "topk", old=True, **kwargs))
    assert sae.architecture == "topk" and sae.rule is not None and sae.rule.k == 7


def test_metadata_is_read_where_the_version_is_missing(tmp_path: Path) -> None:
    """SAELens takes such a folder for an old one and drops the metadata."""
    changes = {"metadata": {"hook_name": "blocks.2.hook_resid_post", "model_name": "m"}}
    assert encoder.load_sae(sae_path=folder_with(tmp_path, **changes)).hook_name == "blocks.2.hook_resid_post"


def test_what_a_configuration_tells_of_the_activations_is_kept(tmp_path: Path) -> None:
    sae = encoder.load_sae(sae_path=folder_with(tmp_path, old=True, seqpos_slice=[1, None]))
    told = {"context_size": 128, "prepend_bos": True, "seqpos_slice": [1, None], "model_name": "gpt2-small"}
    assert told.items() <= sae.trained_on.items() and "lr" not in sae.trained_on


def test_a_scaling_of_the_way_back_is_noted_and_changes_no_feature(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = folder_with(tmp_path, finetuning_scaling_factor=True)
    plain = encoder.load_sae(sae_path=folder)
    stored = load_file(folder / "sae_weights.safetensors")
    for value, is_noted in ((torch.ones(D_SAE), False), (torch.full((D_SAE,), 1.5), True)):
        save_file(stored | {"scaling_factor": value}, folder / "sae_weights.safetensors")
        sae = encoder.load_sae(sae_path=folder)
        assert sae.identity["weights_sha256"] == plain.identity["weights_sha256"]
        assert any("finetuning scaling factor" in note for note in sae.notes) == is_noted
