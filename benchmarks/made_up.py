"""A made-up SAE in GemmaScope's shape and file, and made-up activations.

There is no Gemma here, so its activations are composed: each token's vector is a sum of the decoder's directions of
features that fire at random, and of noise. Shapes: D = d_in, F = d_sae, T tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

D, F = 2304, 16_384
WEAK, STRONG = 10.0, 16.0
"""Between which values a feature fires; the thresholds lie between 7 and 9, and cross-talk has a deviation of 2."""


def write_params(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Write a params.npz as GemmaScope's; return its decoder: W_dec [F, D], b_dec [D]."""
    random = torch.Generator().manual_seed(0)
    W_dec = torch.nn.functional.normalize(torch.randn(F, D, generator=random), dim=1)
    b_dec = torch.randn(D, generator=random)
    arrays: dict[str, Any] = {
        "W_enc": W_dec.T.contiguous(),
        "W_dec": W_dec,
        "b_enc": -(W_dec @ b_dec),  # so that the mean activation, which is b_dec, makes nothing fire
        "b_dec": b_dec,
        "threshold": 7 + 2 * torch.rand(F, generator=random),
    }
    path.parent.mkdir(parents=True)
    np.savez(path, **{name: array.numpy() for name, array in arrays.items()})
    return W_dec, b_dec


def random_rows(
    decoder: tuple[torch.Tensor, torch.Tensor], n_tokens: int, random: torch.Generator, n_active: int
) -> torch.Tensor:
    """Compose rows [T, D] of `n_active` features each, drawn at random, and noise."""
    W_dec, b_dec = decoder
    features = torch.randint(len(W_dec), (n_tokens, n_active), generator=random)
    values = WEAK + (STRONG - WEAK) * torch.rand(features.shape, generator=random) ** 3
    sums = torch.nn.functional.embedding_bag(features, W_dec, mode="sum", per_sample_weights=values)
    return sums + b_dec + torch.randn(sums.shape, generator=random) * 0.5
