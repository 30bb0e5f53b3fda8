"""A folder of Gemma Scope 2 (https://huggingface.co/google/gemma-scope-2): JumpReLU SAEs and transcoders.

config.json           architecture, width, hf_hook_point_in, hf_hook_point_out, affine_connection, model_name, type
params.safetensors    w_enc [D, F], w_dec [F, D_out], b_enc, b_dec, threshold; affine_skip_connection [D, D_out]
"""

from __future__ import annotations

import re
from pathlib import Path

from encoder.errors import InputError
from encoder.sae.keys import GEMMA_SCOPE_2
from encoder.sae.loaders.loaded import Loaded, build, read_config, read_safetensors

CONFIG, WEIGHTS = "config.json", "params.safetensors"
_HOOKS = (
    (r"model\.layers\.(\d+)\.output", "blocks.{}.hook_resid_post"),
    (r"model\.layers\.(\d+)\.self_attn\.o_proj\.input", "blocks.{}.attn.hook_z"),
    (r"model\.layers\.(\d+)\.post_feedforward_layernorm\.output", "blocks.{}.hook_mlp_out"),
)
"""The names of transformers' modules in the configuration, and those of TransformerLens."""


def claims(path: Path) -> bool:
    return (path / WEIGHTS).is_file() or (path.name == WEIGHTS and path.is_file())


def load(path: Path) -> Loaded:
    folder = path if path.is_dir() else path.parent
    config = read_config(folder / CONFIG)
    notes = GEMMA_SCOPE_2.check(config, folder / CONFIG)
    weights = {
        ("W_" + name[2:] if name.startswith("w_") else name): tensor
        for name, tensor in read_safetensors(folder / WEIGHTS).items()
    }
    skip = weights.pop("affine_skip_connection", None)
    if skip is not None:
        weights["W_skip"] = skip.T
    hook_in, hook_out = config.get("hf_hook_point_in"), config.get("hf_hook_point_out")
    metadata = {"hook_name": _hook_name(hook_in), "hf_hook_name": hook_in, "model_name": config.get("model_name")}
    rebuilds = config.get("type", "sae") == "sae" and hook_out in (None, hook_in)
    if not rebuilds and "W_dec" in weights:
        settings = {"d_out": weights["W_dec"].shape[-1], "apply_b_dec_to_input": False}
        kind = "jumprelu_transcoder" if skip is None else "jumprelu_skip_transcoder"
        module = build(kind, weights, folder, metadata, **settings)
    else:
        module = build("jumprelu", weights, folder, metadata, apply_b_dec_to_input=False)
    if config.get("width") not in (None, module.cfg.d_sae):
        raise InputError(f"{folder / CONFIG}: width is {config['width']}, but w_enc has {module.cfg.d_sae} features")
    return Loaded(module, notes, GEMMA_SCOPE_2.facts(config), rebuilds=rebuilds)


def _hook_name(name: object) -> str | None:
    """Return TransformerLens' name of a place, where it has one; else the name that is there."""
    for pattern, ours in _HOOKS:
        if found := re.fullmatch(pattern, str(name)):
            return ours.format(found[1])
    return str(name) if name else None
