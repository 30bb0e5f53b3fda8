"""A folder of Llama Scope (https://huggingface.co/fnlp/Llama-Scope): JumpReLU with one threshold for all features.

    hyperparams.json                 d_model, jump_relu_threshold, dataset_average_activation_norm, hook_point_in, ...
    checkpoints/final.safetensors    encoder.weight [F, D], encoder.bias, decoder.weight [D, F], decoder.bias

Activations are scaled to a mean norm of sqrt(d_in). As SAELens' loader does, the scaling is folded into the encoder,
and the threshold is multiplied by it. With sparsity_include_decoder_norm the trainer compares a feature times the norm
of its decoder's row with the threshold: the threshold is divided by that norm, which SAELens' loader does not do.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch

from encoder.errors import InputError
from encoder.sae.keys import LLAMA_SCOPE
from encoder.sae.loaders.lm_saes import under_norms
from encoder.sae.loaders.loaded import Loaded, build, read_config, read_safetensors

CONFIG, WEIGHTS = "hyperparams.json", "checkpoints/final.safetensors"
_NAMES = {"encoder.bias": "b_enc", "decoder.bias": "b_dec"}


def claims(path: Path) -> bool:
    return (path / CONFIG).is_file() and (path / WEIGHTS).is_file()


def load(path: Path, factor: float | None = None) -> Loaded:
    """Load the folder. `factor` is the scaling of activations that SAELens' registry knows. Raises: InputError."""
    config = read_config(path / CONFIG)
    notes = LLAMA_SCOPE.check(config, path / CONFIG)
    norms, threshold = config.get("dataset_average_activation_norm"), config.get("jump_relu_threshold")
    norms = norms if isinstance(norms, dict) else {}
    norm = norms.get("in")
    if not isinstance(norm, int | float) or not 0 < norm < math.inf or not isinstance(threshold, int | float):
        raise InputError(f"{path / CONFIG}: no number for jump_relu_threshold or dataset_average_activation_norm.in")
    weights = {_NAMES.get(name, name): tensor for name, tensor in read_safetensors(path / WEIGHTS).items()}
    for name, key in (("W_enc", "encoder.weight"), ("W_dec", "decoder.weight")):
        if key in weights:
            weights[name] = weights.pop(key).float().T
    if "W_enc" not in weights:
        raise InputError(f"{path / WEIGHTS}: has no encoder.weight")
    d_in, d_sae = weights["W_enc"].shape
    own = math.sqrt(d_in) / norm
    weights["threshold"] = torch.full((d_sae,), threshold * own)
    if config.get("sparsity_include_decoder_norm"):
        out = norms.get("out", norm)
        share = out / norm if isinstance(out, int | float) and 0 < out < math.inf else 1.0
        weights["threshold"] = under_norms(torch.full((d_sae,), threshold * own).double(), weights, share)
    factor = own if factor is None else factor
    metadata = {"hook_name": config.get("hook_point_in"), "model_name": "meta-llama/Llama-3.1-8B"}
    module = build("jumprelu", weights, path, metadata, apply_b_dec_to_input=False)
    module.fold_activation_norm_scaling_factor(factor)
    note = f"the scaling of activations by {factor:g} was folded into the weights"
    return Loaded(module, (*notes, note), LLAMA_SCOPE.facts(config))
