"""SAEs as files: one module for each layout that trainers leave or publish, known by the files it consists of.

    gemma_scope.py          params.npz
    gemma_scope_2.py        config.json, params.safetensors
    sparsify.py             cfg.json, sae.safetensors
    dictionary_learning.py  config.json, ae.pt
    llama_scope.py          hyperparams.json, checkpoints/final.safetensors
    lm_saes.py              config.json, sae_weights.safetensors: Llama Scope R1 and later
    qwen_scope.py           layer<N>.sae.pt
    sae_lens_folder.py      cfg.json, sae_weights.safetensors: of every age, training checkpoints too
    batchtopk.py            config.json, sae.pt
    openai.py               a .pt with pre_bias and latent_bias
    linear_pair.py          <model>-SAE-l<N>.pt of Goodfire and qresearch
    crosscoder.py           cc_weights.pt, or W_enc in three dimensions
    layer_transcoders.py    layer_<N>.safetensors, W_enc_<N>.safetensors, params_layer_<N>.safetensors: one layer
    all_layers.py           all files of the last two, as one: cross-layer transcoders, crosscoders of Gemma Scope 2

    loaded.py               what a layout makes of a path, and the checks of its files
    defaults.py             a cfg.json before SAELens 6 in the form of SAELens 6
    stored_npz.py           a large npz, each array with one read
    by_sae_lens.py          what SAELens' own code is needed for
    unknown.py              what is said of a path that is none of these

A module says with `claims(path)` whether a path has its layout, and makes with `load(path)` a `Loaded` of it:
an SAE for inference, with float32 weights. What a configuration says is looked up in `encoder.sae.keys`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from encoder.errors import InputError
from encoder.sae.loaders import (
    all_layers,
    batchtopk,
    crosscoder,
    dictionary_learning,
    gemma_scope,
    gemma_scope_2,
    layer_transcoders,
    linear_pair,
    llama_scope,
    lm_saes,
    openai,
    qwen_scope,
    sae_lens_folder,
    sparsify,
    unknown,
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
    lm_saes,
    qwen_scope,
    dictionary_learning,
    sae_lens_folder,
    batchtopk,
    openai,
    linear_pair,
    crosscoder,
    layer_transcoders,
    all_layers,
)


def load_path(path: Path) -> Loaded:
    """Load the SAE in a folder or file. Raises: InputError if it has none of the layouts or several, or is damaged."""
    found = [layout for layout in LAYOUTS if layout.claims(path)]
    if len(found) > 1:
        files = " and ".join(layout.WEIGHTS for layout in found)
        raise InputError(f"--sae-path {path}: has {files}, which are two SAEs; keep one of them in the folder")
    if not found:
        return load_path(_only_file(path))
    try:
        return found[0].load(path)
    except DAMAGED as exc:
        raise InputError(f"--sae-path {path}: SAELens cannot load this: {why(exc)}") from exc


def _only_file(path: Path) -> Path:
    """Return the file of a folder that is an SAE. Raises: InputError if none is, or several are."""
    files = sorted(path.iterdir()) if path.is_dir() else []
    saes = [file for file in files if file.is_file() and any(layout.claims(file) for layout in LAYOUTS)]
    if not saes:
        raise InputError(f"--sae-path {path}: {unknown.describe(path)}")
    if len(saes) > 1:
        names = ", ".join(file.name for file in saes[:5]) + (", ..." if len(saes) > 5 else "")
        raise InputError(f"--sae-path {path}: holds {len(saes)} SAEs, {names}: name one, such as --sae-path {saes[0]}")
    return saes[0]
