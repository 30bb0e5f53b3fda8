"""The scale of the values: the SAE's own, or Neuronpedia's.

The same SAE can be written with decoder rows of any norm: a feature's row is divided by a number, and its encoder
multiplied by that number. Neuronpedia divides each decoder row by its norm before it makes its figures (SAELens'
`fold_W_dec_norm`), so its values are the SAE's own values times the norms. Neuronpedia leaves TopK SAEs as they are, as
another scale may select other features; an SAE that multiplies by the norms itself has that scale already.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from encoder.arrays import F64

NEAR_ONE = 0.01
"""Norms that differ from 1 by less than this share are 1: an SAE saved in bfloat16 has them."""
AS_THEY_ARE = ("topk", "abstopk", "matching_pursuit", "temporal")
"""Architectures that Neuronpedia does not fold."""


def decoder_norms(module: Any) -> F64:
    """Return what Neuronpedia's values are the SAE's values times of, float64 [F]."""
    if module.cfg.architecture() in AS_THEY_ARE:
        return np.ones(int(module.cfg.d_sae))
    parts = module.W_dec.detach().split(4096)  # a float64 copy of all would be the largest array of a load
    norms = torch.cat([torch.linalg.vector_norm(part, dim=-1, dtype=torch.float64) for part in parts])
    return np.array(norms.clamp(min=1e-8).cpu().numpy())


def is_one(*norms: float) -> bool:
    """Say whether norms are as good as 1: then the SAE's own scale is Neuronpedia's."""
    return all(abs(norm - 1) < NEAR_ONE for norm in norms)


def scale_note(least: float, largest: float, *, is_folded: bool) -> str | None:
    """Say in which scale the values are, where the SAE's own is not Neuronpedia's; None where both are one."""
    if is_one(least, largest):
        return None
    norms = f"its decoder rows have norms of {least:.3g} to {largest:.3g}"
    if is_folded:
        return f"{norms}: values are multiplied by them, which is Neuronpedia's scale"
    return f"{norms}: Neuronpedia's values are these times the norms; --fold-decoder-norm writes them in that scale"
