"""SAEs as files: one module for each layout that trainers leave or publish, known by the files it consists of.

    gemma_scope.py          params.npz
    gemma_scope_2.py        config.json, params.safetensors
    sparsify.py             cfg.json, sae.safetensors
    dictionary_learning.py  config.json, ae.pt
    llama_scope.py          hyperparams.json, checkpoints/final.safetensors
    qwen_scope.py           layer<N>.sae.pt
    sae_lens_folder.py      cfg.json, sae_weights.safetensors: of every age, training checkpoints too

A module says with `claims(path)` whether a path has its layout, and makes with `load(path)` a `Loaded` of it:
SAELens' module for inference, with float32 weights. What a configuration says is looked up in `encoder.sae.keys`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from encoder.errors import InputError
from encoder.sae.loaders import (
    dictionary_learning,
    gemma_scope,
    gemma_scope_2,
    llama_scope,
    qwen_scope,
    sae_lens_folder,
    sparsify,
)
from encoder.sae.loaders.loaded import DAMAGED, Loaded, why


class Layout(Protocol):
    """A module of this folder. `WEIGHTS` is the file that its layout is known by."""

    WEIGHTS: str

    def claims(self, path: Path) -> bool: ...

    def load(self, path: Path) -> Loaded: ...


LAYOUTS: tuple[Layout, ...] = (
    gemma_scope,
    gemma_scope_2,
    sparsify,
    llama_scope,
    qwen_scope,
    dictionary_learning,
    sae_lens_folder,
)
KNOWN = (
    "a SAELens folder (cfg.json and sae_weights.safetensors), a params.npz of Gemma Scope, a folder of Gemma Scope 2"
    " (config.json and params.safetensors), of sparsify (cfg.json and sae.safetensors), of dictionary_learning"
    " (config.json and ae.pt) or of Llama Scope (hyperparams.json and checkpoints), or a layer<N>.sae.pt of Qwen-Scope"
)


def load_path(path: Path) -> Loaded:
    """Load the SAE in a folder or file. Raises: InputError if it has none of the layouts or several, or is damaged."""
    found = [layout for layout in LAYOUTS if layout.claims(path)]
    if not found:
        raise InputError(f"--sae-path {path}: neither a SAELens folder nor a params.npz: known are {KNOWN}")
    if len(found) > 1:
        files = " and ".join(layout.WEIGHTS for layout in found)
        raise InputError(f"--sae-path {path}: has {files}, which are two SAEs; keep one of them in the folder")
    try:
        return found[0].load(path)
    except DAMAGED as exc:
        raise InputError(f"--sae-path {path}: SAELens cannot load this: {why(exc)}") from exc
