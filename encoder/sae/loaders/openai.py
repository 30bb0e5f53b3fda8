"""A file of OpenAI's sparse_autoencoder (https://github.com/openai/sparse_autoencoder), a state dict with settings.

    pre_bias [D]            subtracted from the input, and added to the output
    latent_bias [F]
    encoder.weight [F, D]
    decoder.weight [D, F]   absent where the decoder is the encoder's transpose
    activation              "ReLU" or "TopK"; absent for ReLU
    activation_state_dict   {"k", "postact_fn"} of TopK
    stats_last_nonzero, latents_activation_frequency, latents_mean_square: of the training alone

An SAE with TopK takes rows of mean 0 and deviation 1: its loader decides so by the activation's name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from encoder.errors import InputError
from encoder.sae.loaders.loaded import Loaded, build, contents_of, read_pickled, whole_number

WEIGHTS = "a file with pre_bias and latent_bias"
_TRAINING = ("stats_last_nonzero", "latents_activation_frequency", "latents_mean_square")
_ACTIVATIONS = ("ReLU", "TopK")


def claims(path: Path) -> bool:
    return path.suffix in (".pt", ".pth") and {"pre_bias", "latent_bias"} <= contents_of(path).keys()


def load(path: Path) -> Loaded:
    raw = read_pickled(path)
    activation, state = raw.pop("activation", "ReLU"), raw.pop("activation_state_dict", {})
    again = {name: raw.pop(f"activation.{name}") for name in ("k", "postact_fn") if f"activation.{name}" in raw}
    if again and isinstance(state, dict):  # torch's state_dict and the trainer's own both write the activation's
        if any(state.get(name, value) != value for name, value in again.items()):
            raise InputError(f"{path}: activation_state_dict is {state!r:.100}, and beside it stands {again!r:.100}")
        state = {**again, **state}
    if activation not in _ACTIVATIONS:
        raise InputError(f"{path}: activation is {activation!r}, expected one of {', '.join(_ACTIVATIONS)}")
    for name in _TRAINING:
        raw.pop(name, None)
    weights = {name: tensor for name, tensor in raw.items() if isinstance(tensor, torch.Tensor)}
    if len(weights) < len(raw):
        odd = next(name for name in raw if name not in weights)
        raise InputError(f"{path}: has the setting {odd!r}, which OpenAI's trainer is not known to write")
    encoder, decoder = weights.pop("encoder.weight", None), weights.pop("decoder.weight", None)
    tied = weights.pop("decoder.linear.weight", None)
    if encoder is None or encoder.ndim != 2:
        raise InputError(f"{path}: has no encoder.weight in two dimensions")
    if decoder is None and tied is None:
        raise InputError(f"{path}: has no decoder.weight")
    named = {"b_dec": weights.pop("pre_bias"), "b_enc": weights.pop("latent_bias"), **weights}
    named |= {"W_enc": encoder.T, "W_dec": encoder if decoder is None else decoder.T}
    if activation == "ReLU":
        return Loaded(build("standard", named, path, {}))
    k = _k(state, path, len(encoder))
    return Loaded(build("topk", named, path, {}, k=k, normalize_activations="layer_norm"))


def _k(state: Any, path: Path, d_sae: int) -> int:
    if not isinstance(state, dict) or state.get("postact_fn", "ReLU") != "ReLU":
        raise InputError(f"{path}: activation_state_dict is {state!r:.100}, expected k, and ReLU as postact_fn")
    k = state.get("k")
    return whole_number(int(k) if isinstance(k, torch.Tensor) and k.numel() == 1 else k, "k", path, d_sae)
