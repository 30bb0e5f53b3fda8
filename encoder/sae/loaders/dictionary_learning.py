"""A folder of dictionary_learning: config.json and ae.pt, or one of its checkpoints, checkpoints/ae_<step>.pt.

    config.json     {"trainer": {"dict_class", "activation_dim", "dict_size", "k", "layer", ...}, "buffer": ...}
    ae.pt           a state dict; its names are those of the class

    dict_class                              features
    AutoEncoder                             relu(W (x - bias) + b)
    AutoEncoderNew                          relu(W x + b)
    GatedAutoEncoder                        gate and magnitude of W (x - decoder_bias)
    JumpReluAutoEncoder                     above a threshold, of W x + b
    AutoEncoderTopK                         the k largest of relu(W (x - b_dec) + b)
    BatchTopKSAE, MatryoshkaBatchTopKSAE    above one threshold, of W (x - b_dec) + b
    CrossCoder                              see crosscoder.py

The trainer multiplies biases and thresholds by its norm_factor before it saves: the weights take raw activations.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from encoder.errors import InputError
from encoder.sae.keys import DICTIONARY_LEARNING
from encoder.sae.loaders import crosscoder
from encoder.sae.loaders.loaded import Loaded, build, read_config, read_torch, whole_number

CONFIG, WEIGHTS = "config.json", "ae.pt"
_CLASSES = {
    "AutoEncoder": ("standard", True),
    "AutoEncoderNew": ("standard", False),
    "GatedAutoEncoder": ("gated", True),
    "JumpReluAutoEncoder": ("jumprelu", False),
    "AutoEncoderTopK": ("topk", True),
    "BatchTopKSAE": ("jumprelu", True),
    "MatryoshkaBatchTopKSAE": ("jumprelu", True),
}
"""dict_class -> SAELens' architecture, and whether the decoder's bias is subtracted from the input."""
_NAMES = {
    "encoder.bias": "b_enc", "bias": "b_dec", "decoder.bias": "b_dec", "decoder_bias": "b_dec", "gate_bias": "b_gate",
    "mag_bias": "b_mag",
}  # fmt: skip


def claims(path: Path) -> bool:
    return (path / WEIGHTS).is_file() or _is_checkpoint(path)


def _is_checkpoint(file: Path) -> bool:
    """Say whether a file lies as a checkpoint of this trainer does; sae.pt is another trainer's name."""
    return file.suffix == ".pt" and file.name != "sae.pt" and file.is_file() and _folder_of(file) is not None


def load(path: Path) -> Loaded:
    file = path / WEIGHTS if path.is_dir() else path
    folder = _folder_of(file) or file.parent
    config = read_config(folder / CONFIG)
    trainer = config.get("trainer")
    if not isinstance(trainer, dict):
        raise InputError(f"{folder / CONFIG}: has no trainer; a folder of dictionary_learning says there what it holds")
    notes = DICTIONARY_LEARNING.check(trainer, folder / CONFIG)
    dict_class = trainer.get("dict_class")
    if dict_class == "CrossCoder":
        return crosscoder.of_dictionary_learning(file, folder / CONFIG, {"model_name": trainer.get("lm_name")})
    if dict_class not in _CLASSES:
        known = ", ".join((*_CLASSES, "CrossCoder"))
        raise InputError(f"{folder / CONFIG}: dict_class is {dict_class!r}, expected one of {known}")
    architecture, subtracts = _CLASSES[dict_class]
    weights = _renamed(read_torch(file))
    d_sae = weights["W_enc"].shape[-1] if "W_enc" in weights else 0
    settings: dict[str, Any] = {"apply_b_dec_to_input": subtracts}
    weights.pop("group_sizes", None)
    stored_k, threshold = (weights.pop(name, None) for name in ("k", "threshold"))
    if architecture == "topk":
        settings["k"] = whole_number(trainer.get("k"), "k", folder / CONFIG, d_sae)
        if stored_k is not None and int(stored_k) != settings["k"]:
            raise InputError(f"{folder}: k is {settings['k']} in {CONFIG}, but {int(stored_k)} in {file.name}")
    elif threshold is not None:
        if threshold.ndim == 0 and threshold < 0:
            notes += ("its threshold was never trained; every feature above 0 is active",)
        weights["threshold"] = threshold.expand(d_sae) if threshold.ndim == 0 else threshold
    layer = trainer.get("layer")
    metadata = {"hook_name": _hook_of(trainer, layer), "model_name": trainer.get("lm_name")}
    module = build(architecture, weights, file, metadata, **settings)
    for key, n in (("activation_dim", module.cfg.d_in), ("dict_size", module.cfg.d_sae)):
        if trainer.get(key) not in (None, n):
            raise InputError(f"{folder / CONFIG}: {key} is {trainer[key]}, but the weights have {n}")
    return Loaded(module, notes, DICTIONARY_LEARNING.facts(trainer))


def _folder_of(file: Path) -> Path | None:
    """Return the folder of the configuration that a file of weights belongs to."""
    for folder in (file.parent, file.parent.parent):
        if (folder / CONFIG).is_file() and "trainer" in read_config(folder / CONFIG):
            return folder
    return None


def _renamed(raw: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    weights = {_NAMES.get(name, name): tensor for name, tensor in raw.items()}
    for name in ("encoder", "decoder"):
        if f"{name}.weight" in weights:  # [F, D] and [D, F]
            weights[f"W_{name[:3]}"] = weights.pop(f"{name}.weight").T
    return weights


def _hook_of(trainer: dict[str, Any], layer: Any) -> str | None:
    """Without a submodule's name the trainers' own examples take the residual stream after the layer."""
    if trainer.get("submodule_name"):
        return str(trainer["submodule_name"])
    return f"blocks.{layer}.hook_resid_post" if isinstance(layer, int) and layer >= 0 else None
