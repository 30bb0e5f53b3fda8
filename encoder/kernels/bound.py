"""How far a float32 matrix product can be from the exact one, proved, and with what is left the screen's test.

Source: N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1: for any order of summation,
with or without fused multiply-add, the computed inner product of n terms in precision u satisfies

    |fl(x.w) - x.w| <= gamma_n |x|.|w|,    gamma_n = n u / (1 - n u),    u = 2^-24,

barring over- and underflow. With Cauchy-Schwarz, |x|.|w| <= ||x|| ||w||. Underflow adds at most n 2^-149 a product
(gradual) or n 2^-126 where the processor flushes denormals to zero; `UNDERFLOW` covers both with n <= 2^20.
A row whose product could overflow float32 is not screened at all: every one of its features is a candidate.

A feature is active iff h = x.w + b > t in exact arithmetic. So if p is the computed product,

    p + gamma ||x|| ||w|| + underflow <= t - b    implies    not active,

and only the features that fail this test are computed again in float64. The test itself is made in float64, with norms
computed in float64 and enlarged by 1 + 2^-40, which covers their own rounding.
"""

from __future__ import annotations

import torch

U32 = 2.0**-24
UNDERFLOW = 2.0**-106
ENLARGE = 1.0 + 2.0**-40
SAFE_PRODUCT = 1e37
"""Norm products above this might overflow float32 on the way."""


def gamma(n: int) -> float:
    """Return Higham's gamma_n for float32."""
    if n * U32 >= 0.5:
        raise ValueError(f"no bound for inner products of {n} terms in float32")
    return n * U32 / (1 - n * U32)


def column_norms(W_enc: torch.Tensor) -> torch.Tensor:
    """Return upper bounds of the columns' norms: W_enc [D, F] -> [F] float64."""
    blocks = (W_enc[:, start : start + 4096] for start in range(0, W_enc.shape[1], 4096))
    return torch.cat([torch.linalg.vector_norm(block.double(), dim=0) for block in blocks]) * ENLARGE


def row_norms(x: torch.Tensor) -> torch.Tensor:
    """Return upper bounds of the rows' norms: x [T, D] float32 -> [T] float64."""
    norms: torch.Tensor = torch.linalg.vector_norm(x.double(), dim=1) * ENLARGE
    return norms
