"""The proof of how far the screen's product can be from the exact product, in int8, bfloat16 and float32.

docs/kernel.md has the same proof with typeset formulas, and the steps before and after it.

Source: N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1: for any order of summation,
with or without fused multiply-add, the computed inner product of n terms in precision u satisfies

    |fl(x.w) - x.w| <= gamma_n |x|.|w|,    gamma_n = n u / (1 - n u),    u = 2^-24,

barring over- and underflow. With Cauchy-Schwarz, |x|.|w| <= ||x|| ||w||.

The screen rounds its operands first, x to x' and W to W' (operand.py). An int8 product of the rounded operands is
exact. A bfloat16 product multiplies exactly and adds in float32. A float32 product rounds each product once more and
adds in float32. A few massive inputs S are not part of the product; R is the set of the other inputs. The product of
row t and feature j then differs from x_R.W_R by at most

    ||x_R|| (||W_R - W'|| + gamma ||W'||)  +  ||x_R - x'|| (1 + gamma) ||W'||

(gamma = 0 in int8). The number format of the product rounds it once more: |p - p^| <= u_out |p^|. Let e be the sum
above plus the loss of the float32 arithmetic of the test. With the exact share of the massive inputs, h = x.w + b > t
needs

    p >= L - u_out |L|,    L = t - b - x_S.W_S - e,

and only features that pass this test are computed again in float64.

Norms are computed in float64 and enlarged by `ENLARGE`, which covers their own rounding. Factors and terms are rounded
to float32 away from zero and enlarged by `ENLARGE_F32`, 16 units of roundoff; this covers the arithmetic of the test, a
sum of at most 13 terms. `TINY` and `SMALL` cover underflow: a number that is flushed to zero is below 2^-126, and n <=
2^20 such numbers add up to less than TINY * SMALL = 2^-100. `UNDERFLOW_FACTOR` covers weights that are flushed. A row
whose product could overflow is not screened: all its features are candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from encoder.arrays import F32, F64

U32 = 2.0**-24
U_OUT = {"int8": 1.01 * 2.0**-22, "bf16": 1.01 * 2.0**-8, "fp32": 0.0}
"""How far the number that the scan reads may be from the product, as a share of it. The scan converts an int32 product
to float32 and scales it; a bfloat16 product was rounded when it was stored."""
U64 = 2.0**-53
UNDERFLOW = 2.0**-106
ENLARGE = 1.0 + 2.0**-40
ENLARGE_F32 = 1.0 + 2.0**-20
TINY = 2.0**-60
SMALL = 2.0**-40
UNDERFLOW_FACTOR = 2.0**-100
SPLIT_LOSS = 2.0**-19
SAFE_PRODUCT = 1e37
"""If the product of two norms is above this, the sum of the products might overflow float32."""


def gamma(n: int) -> float:
    """Return Higham's gamma_n for float32."""
    if n * U32 >= 0.5:
        raise ValueError(f"no bound for inner products of {n} terms in float32")
    return n * U32 / (1 - n * U32)


@dataclass(frozen=True, slots=True)
class Norms:
    """Upper bounds of norms, each float64 [T] or [F], over the inputs R and S of the module's docstring.

    `rest` of R, `lost` of R minus R rounded, `rounded` of R rounded, `split` of S.
    """

    rest: F64
    lost: F64
    rounded: F64
    split: F64

    @property
    def whole(self) -> F64:
        norm: F64 = np.hypot(self.rest, self.split) * ENLARGE
        return norm


def factors_of(columns: Norms, precision: str, d_in: int) -> F64:
    """Return what a row's `rest`, `lost` and `split` are multiplied by in each feature's bound: float64 [3, F]."""
    growth = 0.0 if precision == "int8" else gamma(d_in)
    factors = np.stack(
        [
            columns.lost + growth * columns.rounded + UNDERFLOW_FACTOR,
            (1 + growth) * np.maximum(columns.rounded, SMALL * np.maximum(columns.whole, 1)),
            SPLIT_LOSS * columns.split + UNDERFLOW_FACTOR,
        ]
    )
    factors[:, columns.whole == 0] = 0  # such a feature's product is exactly zero with every row
    return factors


def upwards(values: F64) -> F32:
    """Round float64 numbers that are at least 0 up to float32, with room for the arithmetic of the test."""
    with np.errstate(over="ignore"):
        raised = np.nextafter((values * ENLARGE_F32).astype(np.float32), np.float32(np.inf))
    raised[values == 0] = 0
    return raised


def downwards(values: F64) -> F32:
    """Round float64 limits down to float32, with room for the arithmetic of the test."""
    with np.errstate(over="ignore"):
        lowered = np.clip(values, -1e300, 1e300)
        lowered = (lowered - np.abs(lowered) * (ENLARGE_F32 - 1)).astype(np.float32)
    limits: F32 = np.nextafter(lowered, np.float32(-np.inf))
    return limits


def column_norms(W_enc: torch.Tensor) -> torch.Tensor:
    """Return upper bounds of the columns' norms: W_enc [D, F] -> [F] float64."""
    blocks = (W_enc[:, start : start + 4096] for start in range(0, W_enc.shape[1], 4096))
    return torch.cat([torch.linalg.vector_norm(block.double(), dim=0) for block in blocks]) * ENLARGE
