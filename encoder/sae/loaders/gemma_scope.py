"""A params.npz of Gemma Scope (https://huggingface.co/google/gemma-scope): JumpReLU, W_enc [D, F], float32.

    layer_16/width_16k/average_l0_78/params.npz    W_enc, W_dec, b_enc, b_dec, threshold

The file says nothing of the model. The names of its folders say the layer, where the repository's name is among them.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np
import torch

from encoder.arrays import AnyArray
from encoder.errors import InputError
from encoder.sae.loaders.loaded import DAMAGED, Loaded, build, why
from encoder.sae.loaders.stored_npz import stored_arrays

WEIGHTS = "params.npz"
_NAMES = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")
_PLACE = re.compile(r"gemma-scope-[^/]*-(res|mlp|att|transcoders)(?:-[^/]*)?/(?:.*/)?layer_(\d+)/width_\w+/")
_HOOKS = {
    "res": "blocks.{}.hook_resid_post",
    "mlp": "blocks.{}.hook_mlp_out",
    "att": "blocks.{}.attn.hook_z",
    "transcoders": "blocks.{}.ln2.hook_normalized",
}


def claims(path: Path) -> bool:
    return (path.suffix == ".npz" and path.is_file()) or (path.is_dir() and (path / WEIGHTS).is_file())


def load(path: Path) -> Loaded:
    file = path / WEIGHTS if path.is_dir() else path
    if not zipfile.is_zipfile(file):
        raise InputError(f"--sae-path {file}: not a readable npz: it is no zip file, or was cut off")
    arrays = {("W_" + name[2:] if name.startswith("w_") else name): array for name, array in _arrays(file).items()}
    if not np.all(arrays.pop("scaling_factor", np.ones(1)) == 1):
        raise InputError(f"--sae-path {file}: has a scaling_factor, which JumpReLU SAEs in SAELens do not know")
    for name in _NAMES:
        if name not in arrays:
            raise InputError(f"--sae-path {file}: not a GemmaScope params.npz: it has no {name}, only {sorted(arrays)}")
        if arrays[name].dtype.kind != "f":
            kind = f"{arrays[name].dtype} {list(arrays[name].shape)}"
            raise InputError(f"--sae-path {file}: {name} is {kind}, expected floats")
    weights = {name: torch.from_numpy(np.ascontiguousarray(array, np.float32)) for name, array in arrays.items()}
    found = _PLACE.search(file.absolute().as_posix())
    metadata = {"hook_name": _HOOKS[found[1]].format(found[2])} if found else {}
    if found and found[1] == "transcoders":
        settings = {"d_out": weights["W_dec"].shape[-1], "apply_b_dec_to_input": False}
        return Loaded(build("jumprelu_transcoder", weights, file, metadata, **settings), rebuilds=False)
    return Loaded(build("jumprelu", weights, file, metadata, apply_b_dec_to_input=False))


def _arrays(file: Path) -> dict[str, AnyArray]:
    stored = stored_arrays(file)
    if stored is not None:
        return stored
    try:
        with np.load(file, allow_pickle=False) as data:
            return {name: data[name] for name in data}
    except DAMAGED as exc:
        raise InputError(f"--sae-path {file}: not a readable npz: {why(exc)}") from exc
