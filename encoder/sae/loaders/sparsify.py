"""A folder of EleutherAI's sparsify: TopK SAEs and transcoders.

    cfg.json            activation, k, d_in, num_latents or expansion_factor, transcode, ...
    sae.safetensors     encoder.weight [F, D], encoder.bias, W_dec [F, D], b_dec; W_skip of a transcoder

sparsify subtracts b_dec from the input of every SAE, and from the input of no transcoder; then it takes the k largest
of relu(x W + b). Its folders are named by the module whose output the SAE takes: "layers.10" is the output of block 10.
"""

from __future__ import annotations

import re
from pathlib import Path

from encoder.errors import InputError
from encoder.sae.keys import SPARSIFY
from encoder.sae.loaders.loaded import Loaded, build, read_config, read_safetensors, whole_number

CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"
_NAMES = {"encoder.weight": "W_enc", "encoder.bias": "b_enc", "W_dec": "W_dec", "b_dec": "b_dec"}


def claims(path: Path) -> bool:
    return (path / WEIGHTS).is_file() or (path.name == WEIGHTS and path.is_file())


def load(path: Path) -> Loaded:
    folder = path if path.is_dir() else path.parent
    config = read_config(folder / CONFIG)
    notes = SPARSIFY.check(config, folder / CONFIG)
    raw = read_safetensors(folder / WEIGHTS)
    raw.pop("W_skip", None)
    weights = {_NAMES.get(name, name): tensor for name, tensor in raw.items()}
    if "W_enc" in weights:
        weights["W_enc"] = weights["W_enc"].T
    is_transcoder = bool(config.get("transcode")) or bool(config.get("skip_connection"))
    layer = re.fullmatch(r"(?:.*\.)?layers[._](\d+)", folder.name)
    if is_transcoder:
        hook_name = None
    elif layer:
        hook_name = f"blocks.{layer[1]}.hook_resid_post"
    else:
        hook_name = folder.name if "layers" in folder.name or folder.name == "embed_tokens" else None
    d_sae = len(weights["b_enc"]) if "b_enc" in weights and weights["b_enc"].ndim else 0
    k = whole_number(config.get("k"), "k", folder / CONFIG, d_sae or 1)
    settings = {"k": k, "apply_b_dec_to_input": not config.get("transcode", False)}
    module = build("topk", weights, folder, {"hook_name": hook_name}, **settings)
    expected = config.get("num_latents") or module.cfg.d_in * config.get("expansion_factor", 0)
    if config.get("d_in") != module.cfg.d_in or (expected and expected != module.cfg.d_sae):
        raise InputError(
            f"{folder / CONFIG}: says {config.get('d_in')} inputs and {expected} latents, but encoder.weight has"
            f" {module.cfg.d_in} and {module.cfg.d_sae}"
        )
    return Loaded(module, notes, SPARSIFY.facts(config), rebuilds=not is_transcoder)
