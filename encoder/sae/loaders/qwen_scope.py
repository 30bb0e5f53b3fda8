"""A file of Qwen-Scope (https://huggingface.co/Qwen): layer<N>.sae.pt, TopK.

    W_enc [F, D], W_dec [D, F], b_enc, b_dec

The k of the SAE stands in the name of the repository alone: SAE-Res-<model>-W<width>K-L0_<k>.
"""

from __future__ import annotations

import re
from pathlib import Path

from encoder.errors import InputError
from encoder.sae.loaders.loaded import Loaded, build, read_torch, whole_number

WEIGHTS = "layer<N>.sae.pt"
_FILE = re.compile(r"layer(\d+)\.sae\.pt")
_REPOSITORY = re.compile(r"SAE-Res-(.+)-W\d+K-L0_(\d+)")


def claims(path: Path) -> bool:
    return path.is_file() and _FILE.fullmatch(path.name) is not None


def load(path: Path) -> Loaded:
    layer = _FILE.fullmatch(path.name)
    repository = _REPOSITORY.search(path.absolute().as_posix())
    if layer is None or repository is None:
        raise InputError(
            f"{path}: how many features are active a token, k, stands in the name of Qwen-Scope's repository: keep the"
            f" file in a folder of that name, such as SAE-Res-Qwen3-8B-Base-W64K-L0_50"
        )
    weights = read_torch(path)
    for name in ("W_enc", "W_dec"):
        if name in weights:
            weights[name] = weights[name].T
    k = whole_number(int(repository[2]), "k", path, len(weights.get("b_enc", ())) or 1)
    model = repository[1].rpartition("/")[2]
    metadata = {"hook_name": f"blocks.{layer[1]}.hook_resid_post", "model_name": f"Qwen/{model}"}
    return Loaded(build("topk", weights, path, metadata, k=k, apply_b_dec_to_input=False))
