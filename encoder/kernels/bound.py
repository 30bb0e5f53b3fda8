"""How far the screen's matrix product can be from the exact one, proved, in float32 and in bfloat16.

Source: N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1: for any order of summation,
with or without fused multiply-add, the computed inner product of n terms in precision u satisfies

    |fl(x.w) - x.w| <= gamma_n |x|.|w|,    gamma_n = n u / (1 - n u),    u = 2^-24,

barring over- and underflow. With Cauchy-Schwarz, |x|.|w| <= ||x|| ||w||.

In bfloat16 (u = 2^-8) the operands are rounded first, x to x' and W to W'; bfloat16 products are exact in float32 and are
added up in float32. A few inputs S with massive activations are split: x = x' + x'', W = W' + W'', and x'W' + x''W' +
x'W'' are all terms of the one product, so that no more than 3.1 u^2 of them is lost. R is the other inputs. Then the
product of row t and feature j differs from the exact one by at most

    e_tj =   ||x_R||       (||W_R - W_R'|| + gamma ||W_R'||)
           + ||x_R - x_R'|| (1 + gamma) ||W_R'||
           + ||x_S||       (3.1 u^2 + 1.02 gamma) ||W_S||

and underflow, and is then rounded to bfloat16: |p - p^| <= u |p^|. A feature that may be active has p^ + e > t - b, so

    p < L - u_out |L|,  L = t - b - e    implies    not active,

and only features that fail this test are computed again in float64. docs/kernel.md derives all this.

Every factor is computed in float64, enlarged by `ENLARGE`, and stored in float32 enlarged by `ENLARGE_F32`, which covers
the rounding of the float32 arithmetic of the test itself. `TINY` in ||x_R - x_R'|| and `SMALL` as the least factor
cover underflow: whatever is flushed to zero is below 2^-126 a term, and n <= 2^20 such terms are below their product,
2^-100; `UNDERFLOW_FACTOR` covers weights that are flushed. A row whose product could overflow is not screened at all: every one of its features is a candidate.
"""

from __future__ import annotations

import torch

U32 = 2.0**-24
U_BF16 = 2.0**-8
U64 = 2.0**-53
UNDERFLOW = 2.0**-106
ENLARGE = 1.0 + 2.0**-40
ENLARGE_F32 = 1.0 + 2.0**-20
TINY = 2.0**-60
SMALL = 2.0**-40
UNDERFLOW_FACTOR = 2.0**-100
SPLIT_LOSS = 3.1 * U_BF16**2
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
