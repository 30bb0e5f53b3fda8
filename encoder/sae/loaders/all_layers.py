"""A cross-layer transcoder, or a crosscoder with an encoder for each layer, whole: a file for each layer in a folder.

    params_layer_<N>.safetensors    Gemma Scope 2: clt/<name> and crosscoder/<name>
    W_enc_<N>.safetensors           circuit-tracer's cross-layer transcoders, with W_dec_<N>

A row is the inputs of the layers beside each other, from the first on. Feature n of layer l is the feature l * F + n,
and comes from the layer's own part of the row: of W_enc, only the blocks on the diagonal are not zero. So the features
are exactly those of the layers one by one, but the zeros take their place in memory and in each product. A layer alone
takes a small part of that: see `layer_transcoders`.
"""

from __future__ import annotations

from itertools import accumulate
from math import prod
from pathlib import Path

import torch

from encoder.errors import InputError
from encoder.sae.loaders.layer_transcoders import CROSS, GEMMA, decoder_of, layer_of, read_layer, told_of
from encoder.sae.loaders.loaded import Loaded, build, contents_of

WEIGHTS = "params_layer_<N>.safetensors or W_enc_<N>.safetensors"
MAX_NAMED = 8
"""Layers whose first features are told."""


def claims(path: Path) -> bool:
    return len(files_of(path)) > 1


def files_of(path: Path) -> list[Path]:
    """Return the files of a folder's layers, in order; [] where it has none."""
    files = list(path.iterdir()) if path.is_dir() else []
    for pattern in (GEMMA, CROSS):
        if found := [file for file in files if pattern.fullmatch(file.name) and file.is_file()]:
            return sorted(found, key=lambda file: layer_of(file) or 0)
    return []


def widths_of(path: Path) -> tuple[int, int, int] | None:
    """Return the inputs and the features of all layers, and the numbers in the largest layer, from the headers."""
    n_in, n_features, most = 0, 0, 0
    for file in files_of(path):
        shapes = contents_of(file)
        shape = shapes.get("w_enc") or shapes.get(file.stem, ())[::-1]
        if len(shape) != 2:
            return None
        n_in, n_features = n_in + shape[0], n_features + shape[1]
        beside = contents_of(decoder_of(file)) if CROSS.fullmatch(file.name) else {}
        most = max(most, sum(prod(one) for one in (*shapes.values(), *beside.values())))
    return n_in, n_features, most


def load(path: Path) -> Loaded:
    """Load all layers. Raises: InputError where a layer is missing, or the layers do not belong together."""
    files = files_of(path)
    if (numbers := [layer_of(file) for file in files]) != [*range(len(files))]:
        raise InputError(f"{path}: has the layers {', '.join(map(str, numbers))}: copy the others, or name one file")
    widths = widths_of(path)
    if widths is None:
        raise InputError(f"{path}: a layer has no encoder in two dimensions")
    n_in, n_features, _ = widths
    d, is_gemma = n_in // len(files), GEMMA.fullmatch(files[0].name) is not None
    encoder = torch.zeros(n_features, n_in)  # by feature, as the kernels take it
    decoders, biases = [], []
    thresholds: list[torch.Tensor] = []
    b_dec, first = torch.zeros(d), 0
    for layer, file in enumerate(files):
        weights = read_layer(file)
        shape, wanted = weights["W_dec"].shape, len(files) - (0 if is_gemma else layer)
        if weights["W_enc"].shape[0] != d or len(shape) != 3 or shape[1:] != (wanted, d):
            raise InputError(
                f"{file}: W_enc has the shape {list(weights['W_enc'].shape)} and W_dec {list(shape)}, expected [{d},"
                f" features] and [features, {wanted}, {d}] for {len(files)} layers: are some files missing, or of"
                f" another transcoder?"
            )
        n = weights["W_enc"].shape[1]
        encoder[first : first + n, layer * d : (layer + 1) * d] = weights["W_enc"].T
        decoders.append(weights["W_dec"].float().sum(dim=1))
        biases.append(weights["b_enc"].float())
        thresholds += [weights["threshold"].float()] if "threshold" in weights else []
        b_dec += weights["b_dec"].float()
        first += n
    made = {"W_enc": encoder.T, "W_dec": torch.cat(decoders), "b_enc": torch.cat(biases), "b_dec": b_dec}
    made |= {"threshold": torch.cat(thresholds)} if thresholds else {}
    kind = "jumprelu_transcoder" if is_gemma else "transcoder"
    told, notes = told_of(files[0])
    module = build(kind, made, path, {"model_name": told.get("model_name")}, d_out=d, apply_b_dec_to_input=False)
    starts = [0, *accumulate(len(bias) for bias in biases)][:-1]
    note = (
        f"{len(files)} layers as one: a row is {len(files)} layers of {d:,} beside each other, whose features begin at"
        f" {', '.join(map(str, starts[:MAX_NAMED]))}{', ...' if len(starts) > MAX_NAMED else ''}; its decoder is summed"
        f" over the layers"
    )
    return Loaded(module, (note, *notes), rebuilds=False)
