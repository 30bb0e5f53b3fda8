"""Is a square weight matrix the right way round? Its shape does not say it, and the other way round it fits as well.

The encoder of a feature points where its decoder does, in every SAE that was trained. So where the columns of W_enc and
the rows of W_dec have nothing to do with each other, and after a transposition they do, one of the two is transposed.
"""

from __future__ import annotations

from typing import Any

import torch

ALIKE, UNLIKE = 0.3, 0.1
"""Mean cosines of features' encoders and decoders. SAEs have 0.5 and more, and random directions less than 0.05."""
MIN_WIDTH = 16
"""Less wide, directions are alike by chance."""


def is_transposed(module: Any) -> bool:
    """Say whether one of the weights of an SAE with as many features as inputs looks transposed.

    Which of the two it is cannot be told; and where both are, each goes with the other.
    """
    W_enc, W_dec = (getattr(module, name, torch.zeros(0)).detach() for name in ("W_enc", "W_dec"))
    if W_enc.ndim != 2 or W_enc.shape != W_dec.shape or W_enc.shape[0] != W_enc.shape[1] or len(W_enc) < MIN_WIDTH:
        return False
    return _likeness(W_enc.T, W_dec) < UNLIKE and _likeness(W_enc, W_dec) >= ALIKE


def _likeness(encoders: torch.Tensor, decoders: torch.Tensor) -> float:
    """Return the mean cosine of the rows [F, D] of two matrices."""
    return float(torch.nn.functional.cosine_similarity(encoders.float(), decoders.float(), dim=1).mean())
