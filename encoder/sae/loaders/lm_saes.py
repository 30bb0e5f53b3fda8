"""A folder of Language-Model-SAEs (OpenMOSS), as Llama-Scope-R1-Distill is published (https://huggingface.co/fnlp).

    config.json                d_model, expansion_factor, act_fn, norm_activation, sparsity_include_decoder_norm, ...
    sae_weights.safetensors    encoder.weight [F, D], encoder.bias, decoder.weight [D, F], decoder.bias; of later
                               versions W_E [D, F], b_E, W_D [F, D], b_D
                               log_jumprelu_threshold [F]; dataset_average_activation_norm.<hook> []

    norm_activation    dataset-wise: rows are multiplied by sqrt(D) / mean norm; inference: that is in the weights
    sparsity_include_decoder_norm    the activation function decides on h times the norm of the decoder's row, and the
                                     value is h: a threshold is divided by the norm

With TopK, weights are made such that decoder rows have norm 1, as the trainer does it for inference: then the k largest
values are those that it takes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from encoder.errors import InputError
from encoder.sae.keys import LM_SAES
from encoder.sae.loaders.loaded import Loaded, build, read_config, read_safetensors, whole_number

CONFIG, WEIGHTS = "config.json", "sae_weights.safetensors"
_NAMES = {
    "encoder.bias": "b_enc", "decoder.bias": "b_dec", "W_E": "W_enc", "b_E": "b_enc", "W_D": "W_dec", "b_D": "b_dec",
    "activation_function.log_jumprelu_threshold": "log_jumprelu_threshold",
}  # fmt: skip
_LINEAR = {"encoder.weight": "W_enc", "decoder.weight": "W_dec"}
_NORM = "dataset_average_activation_norm."
_MOST = torch.finfo(torch.float32).max


def claims(path: Path) -> bool:
    return (path / CONFIG).is_file() and (path / WEIGHTS).is_file() and not (path / "cfg.json").is_file()


def load(path: Path, factor: float | None = None, model: str | None = None) -> Loaded:
    """Load the folder; SAELens' registry knows `factor`, the activations' scaling, and `model`. Raises: InputError."""
    config = read_config(path / CONFIG)
    notes = LM_SAES.check(config, path / CONFIG)
    raw = read_safetensors(path / WEIGHTS)
    norms = {name.removeprefix(_NORM): float(raw.pop(name)) for name in [*raw] if name.startswith(_NORM)}
    weights = {_NAMES.get(name, name): tensor for name, tensor in raw.items() if name not in _LINEAR}
    weights |= {_LINEAR[name]: tensor.T for name, tensor in raw.items() if name in _LINEAR}
    if config.get("use_decoder_bias") is False and "W_enc" in weights:
        weights.setdefault("b_dec", torch.zeros(len(weights["W_enc"])))
    log_threshold = weights.pop("log_jumprelu_threshold", None)
    act_fn, by_norm = str(config.get("act_fn", "relu")).lower(), bool(config.get("sparsity_include_decoder_norm"))
    settings: dict[str, Any] = {"apply_b_dec_to_input": False}
    kind = {"relu": "standard", "jumprelu": "jumprelu", "topk": "topk"}[act_fn]
    if act_fn == "jumprelu":
        if log_threshold is None:
            raise InputError(f"{path / WEIGHTS}: has no log_jumprelu_threshold, and act_fn is 'jumprelu'")
        threshold = log_threshold.double().exp()
        weights["threshold"] = under_norms(threshold, weights) if by_norm else threshold.float()
    elif act_fn == "topk":
        d_sae = weights["W_enc"].shape[-1] if "W_enc" in weights else 1
        settings["k"] = whole_number(config.get("top_k"), "top_k", path / CONFIG, d_sae)
        if by_norm and {"W_enc", "W_dec", "b_enc"} <= weights.keys():
            norm = weights["W_dec"].float().norm(dim=1)
            weights["W_enc"], weights["b_enc"] = weights["W_enc"].float() * norm, weights["b_enc"].float() * norm
            weights["W_dec"] = weights["W_dec"].float() / norm.clamp_min(1e-30).unsqueeze(1)
            notes += ("sparsity_include_decoder_norm: values are multiplied by the norms of the decoder's rows",)
    hook_in, hook_out = config.get("hook_point_in"), config.get("hook_point_out")
    metadata = {"hook_name": hook_in, "model_name": config.get("model_name") or model}
    module = build(kind, weights, path, metadata, **settings)
    d_in, d_sae = module.cfg.d_in, module.cfg.d_sae
    said = config.get("d_model", d_in), config.get("d_sae", int(config.get("expansion_factor", d_sae / d_in) * d_in))
    if said != (d_in, d_sae):
        raise InputError(f"{path / CONFIG}: says {said[0]} inputs and {said[1]} features; W_E has {d_in} and {d_sae}")
    if config.get("norm_activation", "dataset-wise") == "dataset-wise":
        factor = _factor(path, norms, hook_in, d_in, factor)
        module.fold_activation_norm_scaling_factor(factor)
        notes += (f"the scaling of activations by {factor:g} was folded into the weights",)
    return Loaded(module, notes, LM_SAES.facts(config), rebuilds=hook_out in (None, hook_in))


def under_norms(threshold: torch.Tensor, weights: Mapping[str, torch.Tensor], share: float = 1.0) -> torch.Tensor:
    """Divide thresholds [F], float64, by the norms of the decoder's rows, W_dec [F, D], times `share`; float32 [F]."""
    if "W_dec" not in weights:
        return threshold.float()  # `build` says that it is not there
    decoder = weights["W_dec"]
    blocks = [decoder[start : start + 4096] for start in range(0, len(decoder), 4096)]
    norms = torch.cat([block.double().norm(dim=1) for block in blocks]) * share
    return (threshold / norms).clamp_max(_MOST).float()


def _factor(path: Path, norms: Mapping[str, float], hook: object, d_in: int, known: float | None) -> float:
    norm = norms.get(str(hook), next(iter(norms.values())) if len(norms) == 1 else 0.0)
    if 0 < norm < math.inf:
        return math.sqrt(d_in) / norm
    if known is not None:
        return known
    raise InputError(
        f"{path}: norm_activation is 'dataset-wise', so activations are scaled by sqrt(d_model) / their mean norm, and"
        f" {WEIGHTS} has no {_NORM}{hook}. Load the SAE by its name in SAELens' registry, or save it with"
        f" fold_activation_scale=True"
    )
