"""A file of two linear layers, as Goodfire and qresearch publish them: relu(W x + b), no bias taken from the input.

    Goodfire     <model>-SAE-l<N>.pt or .pth    encoder_linear.weight [F, D], encoder_linear.bias, decoder_linear.weight
                                                [D, F], decoder_linear.bias
    qresearch    <model>-SAE-l<N>.pt            encoder.weight [F, D], encoder.bias, decoder.weight [D, F], decoder.bias

The second names are those of dictionary_learning too, which takes a bias from the input: the file's name tells these
apart.
"""

from __future__ import annotations

import re
from pathlib import Path

from encoder.sae.loaders.loaded import Loaded, build, contents_of, read_torch

WEIGHTS = "<model>-SAE-l<N>.pt"
_FILE = re.compile(r"(.+)-SAE-l(\d+)\.pth?")
_NAMES = {"encoder.weight": "W_enc", "encoder.bias": "b_enc", "decoder.weight": "W_dec", "decoder.bias": "b_dec"}


def claims(path: Path) -> bool:
    if path.suffix not in (".pt", ".pth"):
        return False
    names = contents_of(path).keys()
    return "encoder_linear.weight" in names or (_FILE.fullmatch(path.name) is not None and _NAMES.keys() <= names)


def load(path: Path) -> Loaded:
    raw = {name.replace("_linear.", "."): tensor for name, tensor in read_torch(path).items()}
    weights = {_NAMES.get(name, name): tensor.T if tensor.ndim == 2 else tensor for name, tensor in raw.items()}
    named = _FILE.fullmatch(path.name)
    metadata = {"model_name": named[1], "hook_name": f"blocks.{named[2]}.hook_resid_post"} if named else {}
    return Loaded(build("standard", weights, path, metadata, apply_b_dec_to_input=False))
