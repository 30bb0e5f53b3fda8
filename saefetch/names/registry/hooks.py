"""Which activations an SAE reads, as far as its names alone prove it (used when the table of all SAEs is built).

SAELens' YAML has no hook names. Its loaders make most of them from the same names that the YAML has; the rules here are
those of the loaders. Where a loader reads the hook from a file of the SAE, the hook stays empty, unless the SAE's id is
a hook name.
"""

import re

from saefetch.names.registry.widths import Names

_GEMMA_2_SITES = {"res": "hook_resid_post", "mlp": "hook_mlp_out", "att": "attn.hook_z"}
_GEMMA_3_SITES = {
    "resid_post": "hook_resid_post",
    "attn_out": "attn.hook_z",
    "mlp_out": "hook_mlp_out",
    "transcoder": "hook_mlp_in",
    "clt": "hook_mlp_in",
}
_OF_EVERY_LAYER = {
    "dictionary_learning_1": ("path", r"resid_post_layer_(\d+)", "hook_resid_post"),
    "qwen_scope": ("path", r"^layer(\d+)\.sae\.pt$", "hook_resid_post"),
    "goodfire": ("path", r"-l(\d+)\.pth?$", "hook_resid_post"),
    "deepseek_r1": ("path", r"-l(\d+)\.pt$", "hook_resid_post"),
    "temporal": ("path", r"layer_(\d+)", "hook_resid_post"),
    "gemma_2_transcoder": ("path", r"layer_(\d+)", "ln2.hook_normalized"),
    "mwhanna_transcoder": ("path", r"_(\d+)\.safetensors$", "mlp.hook_in"),
}
"""Loader -> the name that holds the layer, where in it, and the place in the layer."""


def hook_of(loader: str, names: Names) -> str | None:
    """Return the hook of SAELens' naming that an SAE reads, or None where only its files say it."""
    if loader == "gemma_2":
        if "embedding" in names.path:
            return "hook_embed"
        return _at(names.path, next((at for part, at in _GEMMA_2_SITES.items() if part in names.repo_id), None))
    if loader == "gemma_3":
        return _at(names.path, next((at for part, at in _GEMMA_3_SITES.items() if part in names.path), None))
    if loader in _OF_EVERY_LAYER:
        name, pattern, site = _OF_EVERY_LAYER[loader]
        found = re.search(pattern, getattr(names, name))
        return f"blocks.{found[1]}.{site}" if found else None
    found = re.match(r"blocks\.\d+\.(attn\.)?hook_(resid_(pre|post|mid)|mlp_out|attn_out|z)(?=_|$)", names.sae_id)
    return found[0] if found else None


def _at(path: str, site: str | None) -> str | None:
    layer = re.search(r"layer_(\d+)", path)
    return f"blocks.{layer[1]}.{site}" if layer and site else None
