"""Both operands of the screen's product, and the numbers that bound its error.

    precision   x', W'                                     their product
    int8        q s: whole numbers -127..127, a scale a row   exact, int32; of rows -64..64 without VNNI (calibrate.py)
    bf16        bfloat16, to nearest even                  float32 sums, rounded to bfloat16
    fp32        as they are                                float32

A few inputs S may be massive, as in Gemma. They are left out of the product (x' = W' = 0 there), and the scan adds
their share in float32. R is the set of the other inputs. The limit that a product is compared with, its bound included,
is one sum over `terms` of row t and `factors` of feature j:

    k            0       1          2             3          4        5...
    terms[k]     s_t     ||x_R||    ||x_R - x'||  ||x_S||    floor    x_i, i in S
    factors[k]   limit   of ||W_R - W'||, of ||W'||, of ||W_S||, of the floor, W_ij        all divided by s_j

A denormal number becomes zero here, because bfloat16 instructions treat denormal numbers as zero; the loss is measured
with the rest of the rounding. Shapes: T rows, F features, D = d_in, K = 5 + |S|.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from encoder.arrays import F32, F64, I64, AnyArray
from encoder.kernels.bound import ENLARGE, SAFE_PRODUCT, TINY, Norms, downwards, factors_of, upwards
from encoder.kernels.cpu.calibrate import int8_levels
from encoder.machine.compiled import compiled

DTYPES = {"int8": torch.int8, "bf16": torch.bfloat16, "fp32": torch.float32}
PRODUCT_DTYPES = DTYPES | {"int8": torch.int32}
FLOOR, N_TERMS = 4, 5
"""The place of the floor among the terms, and how many terms there are beside the massive inputs."""
_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Columns:
    """The features' operand [F, D], factors [F, K], norms [F] and scales [F], and which inputs are massive [|S|].

    `row_levels` is the largest whole number that an int8 product takes from a row.
    """

    precision: str
    operand: torch.Tensor
    factors: F32
    norms: F64
    scales: F64
    massive: I64
    row_levels: int


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows' operand [P, D], terms [K, P] and norms [T]. Rows of the operand beyond T are zero."""

    operand: torch.Tensor
    terms: F32
    norms: F64


def make_columns(
    weights: torch.Tensor, massive: I64, precision: str, limits: F64, floor_factors: F64, threads: Executor
) -> Columns:
    """Round and bound the features: weights [F, D] float32, massive int64 [|S|].

    x.w must exceed limits [F] minus floor_factors [F] times the row's floor.
    """
    operand = torch.empty(weights.shape, dtype=DTYPES[precision])
    blocks = [slice(start, start + _BLOCK) for start in range(0, len(weights), _BLOCK)]
    parts = threads.map(lambda part: _round(weights[part].numpy(), massive, operand[part]), blocks)
    norms, scales = (np.concatenate(values, axis=-1) for values in zip(*parts, strict=True)) if blocks else _NOTHING
    bounds = Norms(*norms)
    factors = np.empty((len(weights), N_TERMS + len(massive)), np.float32)
    factors[:, 0] = downwards(limits / scales)
    factors[:, 1:4] = upwards(factors_of(bounds, precision, weights.shape[1]) / scales).T
    factors[:, 4] = floor_factors / scales
    factors[:, 5:] = weights[:, torch.from_numpy(massive)].double().numpy() / scales[:, None]
    row_levels = int8_levels(weights.shape[1]) if precision == "int8" else 0
    return Columns(precision, operand, factors, bounds.whole, scales, massive, row_levels)


_NOTHING = np.zeros((4, 0)), np.zeros(0)


def make_rows(x: F32, columns: Columns, n_padded: int) -> Rows:
    """Round and bound rows: x [T, D] float32, padded with zero rows to P = n_padded.

    The terms of a row that might overflow are NaN, which makes every feature its candidate.
    """
    n_rows = len(x)
    operand = torch.empty((n_padded, x.shape[1]), dtype=columns.operand.dtype)
    operand[n_rows:] = 0
    norms, scales = _round(x, columns.massive, operand[:n_rows], columns.row_levels)
    bounds = Norms(*norms)
    terms = np.zeros((columns.factors.shape[1], n_padded), np.float32)
    terms[0, :n_rows] = scales
    lost = bounds.lost + np.where(bounds.whole > 0, TINY, 0)
    terms[1:4, :n_rows] = upwards(np.stack([bounds.rest, lost, bounds.split]))
    terms[5:, :n_rows] = x[:, columns.massive].T
    safe = bounds.whole * columns.norms.max(initial=1.0) < SAFE_PRODUCT
    terms[:, :n_rows][:, ~safe] = np.nan
    terms[FLOOR, :n_rows] = 0
    return Rows(operand, terms, bounds.whole)


def multiply(columns: Columns, chunk: slice, rows: Rows, out: torch.Tensor) -> None:
    """Compute the product of a chunk of features with rows: out [features, P], of PRODUCT_DTYPES."""
    product = torch._int_mm if columns.precision == "int8" else torch.mm
    product(columns.operand[chunk], rows.operand.T, out=out)


def _round(rows: F32, massive: I64, operand: torch.Tensor, levels: int = 127) -> tuple[F64, F64]:
    """Write the operand of rows [T, D]; return upper bounds of the norms in `Norms` [4, T], and the scales [T]."""
    is_rest = np.ones(rows.shape[1], np.float32)
    is_rest[massive] = 0
    squares, scales = np.zeros((4, len(rows))), np.ones(len(rows))
    if operand.dtype == torch.bfloat16:
        _round_bf16(rows, is_rest, operand.view(torch.uint16).numpy(), squares)
    elif operand.dtype == torch.int8:
        _round_int8(rows, is_rest, operand.numpy(), squares, scales, np.float32(levels))
    else:
        _keep_fp32(rows, is_rest, operand.numpy(), squares)
    return np.sqrt(squares) * ENLARGE, scales


@compiled(fastmath={"reassoc", "contract"})
def _square(row: F32, near: AnyArray, is_rest: F32, squares: F64, t: int) -> None:
    """Write the squares of row t's norms: rest, lost, rounded, split."""
    rest = lost = rounded = split = 0.0
    for i in range(len(row)):
        exact, kept = np.float64(row[i]), np.float64(near[i])
        part = np.float64(is_rest[i])
        rest += part * exact * exact
        split += (1.0 - part) * exact * exact
        lost += part * (exact - kept) * (exact - kept)
        rounded += kept * kept
    squares[0, t], squares[1, t], squares[2, t], squares[3, t] = rest, lost, rounded, split


@compiled()
def _round_bf16(rows: F32, is_rest: F32, operand: AnyArray, squares: F64) -> None:
    kept = np.empty(rows.shape[1], np.uint32)
    near, half, one = kept.view(np.float32), np.uint32(16), np.uint32(1)
    for t in range(rows.shape[0]):
        bits = rows[t].view(np.uint32)
        for i in range(rows.shape[1]):
            nearest = (bits[i] + np.uint32(0x7FFF) + ((bits[i] >> half) & one)) & np.uint32(0xFFFF0000)
            is_normal = (nearest & np.uint32(0x7F800000)) != 0
            kept[i] = nearest if is_normal and is_rest[i] else np.uint32(0)
            operand[t, i] = np.uint16(kept[i] >> half)
        _square(rows[t], near, is_rest, squares, t)


@compiled()
def _round_int8(rows: F32, is_rest: F32, operand: AnyArray, squares: F64, scales: F64, levels: Any) -> None:
    """Round to multiples of a row's scale, its largest number over `levels`; a row below 2^-100 rounds to zero."""
    near = np.empty(rows.shape[1], np.float64)
    for t in range(rows.shape[0]):
        largest = np.float32(0)
        for i in range(rows.shape[1]):
            largest = max(largest, abs(rows[t, i]) * is_rest[i])
        is_large = largest > np.float32(2.0**-100)
        scale = np.float32(largest / levels) if is_large else np.float32(1)
        inverse = np.float32(1) / scale if is_large else np.float32(0)
        scales[t] = scale
        for i in range(rows.shape[1]):
            q = min(max(np.rint(rows[t, i] * is_rest[i] * inverse), -levels), levels)
            operand[t, i] = np.int8(np.int32(q))
            near[i] = np.float64(q) * np.float64(scale)
        _square(rows[t], near, is_rest, squares, t)


@compiled()
def _keep_fp32(rows: F32, is_rest: F32, operand: AnyArray, squares: F64) -> None:
    for t in range(rows.shape[0]):
        for i in range(rows.shape[1]):
            operand[t, i] = rows[t, i] * is_rest[i]
        _square(rows[t], operand[t], is_rest, squares, t)
