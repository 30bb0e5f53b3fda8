"""A crosscoder: features of several layers, or of one layer of several models, at once.

    features = relu(sum over layers of x_l W_l + b): a row is the rows of the layers beside each other, in order

    ckkissane's crosscoder-model-diff       cfg.json, cc_weights.pt or <N>.pt: W_enc [L, D, F], W_dec [F, L, D],
                                            b_enc [F], b_dec [L, D]
    dictionary_learning, science-of-finetuning's    config.json with dict_class CrossCoder, ae.pt: encoder.weight
                                            [L, D, F], encoder.bias [F], decoder.weight [L, F, D], decoder.bias [L, D]

No bias is taken from the input.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from encoder.errors import InputError
from encoder.sae.keys import CROSSCODER
from encoder.sae.loaders.loaded import Loaded, build, contents_of, read_config, read_torch

CONFIG, WEIGHTS = "cfg.json", "cc_weights.pt"
_NAMES = {"encoder.weight": "W_enc", "encoder.bias": "b_enc", "decoder.weight": "W_dec", "decoder.bias": "b_dec"}


def claims(path: Path) -> bool:
    if (path / WEIGHTS).is_file():
        return True
    return path.suffix == ".pt" and len(contents_of(path).get("W_enc", ())) == 3


def load(path: Path) -> Loaded:
    file = path / WEIGHTS if path.is_dir() else path
    weights = read_torch(file)
    beside = next((path for path in _configs(file) if path.is_file()), None)
    config = read_config(beside) if beside else {}
    checked = CROSSCODER.check(config, beside) if beside else ()
    shape = weights["W_enc"].shape if "W_enc" in weights else ()
    for key, n in zip(("d_in", "dict_size"), shape[1:], strict=False):
        if config.get(key) not in (None, n):
            raise InputError(f"{beside}: {key} is {config[key]}, but W_enc has the shape {list(shape)}")
    if "W_dec" in weights and weights["W_dec"].ndim == 3:
        weights["W_dec"] = weights["W_dec"].transpose(0, 1)  # as the other trainer has it: [L, F, D]
    scaled = (
        "its trainer scales each layer's activations to the mean norm sqrt(d) first, by factors that are not in these"
        " files: the rows must come scaled, or the factors be folded into the weights"
    )
    return crosscoder(weights, file, {key: config.get(key) for key in ("hook_point", "model_name")}, (*checked, scaled))


def _configs(file: Path) -> tuple[Path, Path]:
    """Return where a configuration may be: as it is published, and as the trainer saves it."""
    return file.parent / CONFIG, file.with_name(f"{file.stem}_cfg.json")


def of_dictionary_learning(file: Path, config: Path, metadata: dict[str, Any]) -> Loaded:
    """Load the weights beside a configuration that says CrossCoder. Raises: InputError."""
    weights = {_NAMES.get(name, name): tensor for name, tensor in read_torch(file).items()}
    if "code_normalization_id" in weights:
        raise InputError(f"{config}: a CrossCoder with a normalisation of its code is not supported")
    return crosscoder(weights, file, metadata, ())


def crosscoder(
    weights: dict[str, torch.Tensor], file: Path, metadata: dict[str, Any], notes: tuple[str, ...]
) -> Loaded:
    """Make one SAE of the layers: W_enc [L, D, F], W_dec [L, F, D], b_dec [L, D]. Raises: InputError."""
    encoder, decoder, b_dec = (weights.get(name) for name in ("W_enc", "W_dec", "b_dec"))
    if encoder is None or decoder is None or b_dec is None or (encoder.ndim, decoder.ndim, b_dec.ndim) != (3, 3, 2):
        found = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in sorted(weights.items()))
        raise InputError(f"{file}: a crosscoder has W_enc and W_dec in 3 dimensions and b_dec in 2, this has {found}")
    n_layers, d, d_sae = encoder.shape
    if decoder.shape != (n_layers, d_sae, d) or b_dec.shape != (n_layers, d):
        raise InputError(
            f"{file}: W_enc says {n_layers} layers of {d} inputs and {d_sae} features, but the decoder has the shapes"
            f" {list(decoder.shape)} and {list(b_dec.shape)}"
        )
    weights |= {
        "W_enc": encoder.reshape(n_layers * d, d_sae),
        "W_dec": decoder.transpose(0, 1).reshape(d_sae, n_layers * d),
        "b_dec": b_dec.reshape(-1),
    }
    sae = build("standard", weights, file, metadata, apply_b_dec_to_input=False)
    note = f"a crosscoder: a row is {n_layers} layers of {d} beside each other, {n_layers * d} numbers"
    return Loaded(sae, (note, *notes))
