"""A checkpoint of bartbussmann/BatchTopK: config.json and sae.pt, in checkpoints/<name>_<step>.

    config.json    sae_type, top_k, act_size, dict_size, input_unit_norm, ...
    sae.pt         W_enc [D, F], W_dec [F, D], b_enc, b_dec; jumprelu.log_threshold [F]

    sae_type    features, of x that has mean 0 and standard deviation 1 where input_unit_norm is on
    vanilla     relu((x - b_dec) W + b_enc)
    topk        the k largest of relu((x - b_dec) W): b_enc is in the file and not used
    jumprelu    above exp(log_threshold), of x W + b_enc

BatchTopK takes the largest of a whole batch, and this trainer saves no threshold: its features are of no one row.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from encoder.errors import InputError
from encoder.sae.keys import BATCHTOPK
from encoder.sae.loaders.loaded import Loaded, build, read_config, read_torch, whole_number

CONFIG, WEIGHTS = "config.json", "sae.pt"
_KINDS = {"vanilla": ("standard", True), "topk": ("topk", True), "jumprelu": ("jumprelu", False)}
"""sae_type -> the architecture, and whether b_dec is taken from the input."""


def claims(path: Path) -> bool:
    file = path / WEIGHTS if path.is_dir() else path
    return file.name == WEIGHTS and file.is_file() and file.with_name(CONFIG).is_file()


def load(path: Path) -> Loaded:
    folder = path if path.is_dir() else path.parent
    file = folder / WEIGHTS
    config = read_config(folder / CONFIG)
    notes = BATCHTOPK.check(config, folder / CONFIG)
    sae_type = config.get("sae_type")
    if sae_type not in _KINDS:
        raise InputError(
            f"{folder / CONFIG}: sae_type is {sae_type!r}, expected one of {', '.join(_KINDS)}. The features of a"
            f" BatchTopK SAE depend on the batch, unless a threshold was found for them, which this trainer does not"
            f" save: write it into a SAELens folder as a jumprelu SAE"
        )
    kind, subtracts = _KINDS[sae_type]
    weights = read_torch(file)
    settings: dict[str, Any] = {"apply_b_dec_to_input": subtracts}
    if config.get("input_unit_norm"):
        settings["normalize_activations"] = "layer_norm"
    if kind == "topk":
        settings["k"] = whole_number(config.get("top_k"), "top_k", folder / CONFIG, len(weights.get("b_enc", "1")))
        if "b_enc" in weights:
            weights["b_enc"] = torch.zeros_like(weights["b_enc"])
    if "jumprelu.log_threshold" in weights:
        weights["threshold"] = weights.pop("jumprelu.log_threshold").exp()
    metadata = {"hook_name": config.get("hook_point"), "model_name": config.get("model_name")}
    module = build(kind, weights, file, metadata, **settings)
    for key, n in (("act_size", module.cfg.d_in), ("dict_size", module.cfg.d_sae)):
        if config.get(key) not in (None, n):
            raise InputError(f"{folder / CONFIG}: {key} is {config[key]}, but the weights have {n}")
    return Loaded(module, notes, BATCHTOPK.facts(config))
