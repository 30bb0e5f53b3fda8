"""Both operands of the screen's product, and the norms that bound its error.

A row's operand is x' [D] in the product's precision, then, where massive inputs S were found, x_S' and x_S''; a
feature's is W' [D], W_S'' and W_S'. See bound.py. Shapes: T rows, D = d_in, F = d_sae, n = D + 2 |S| terms.

In bfloat16, rounding is to nearest even; what is denormal becomes zero here, because the processor's bfloat16
instructions take it for zero. uint16 stands for bfloat16's bits: numba does not know the type.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import torch

from encoder.kernels.bound import ENLARGE, ENLARGE_F32, SAFE_PRODUCT, SMALL, SPLIT_LOSS, TINY, UNDERFLOW_FACTOR, gamma

Array = np.ndarray[Any, Any]

MAX_MASSIVE = 16
"""Inputs that may be split. 2 x 16 more terms make the product 1.4 % longer at D = 2304."""
MASSIVE_SHARE = 16
"""An input is massive if it holds this many times its share of the rows' squared norm."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The features' side of the product, and what bounds its error.

    operand [F, n], bfloat16 or float32; factors float32 [4, F] of the rows' terms; norms float64 [F]. The first three
    terms are the bound's; the fourth is each row's floor, which only TopK uses.
    """

    operand: torch.Tensor
    factors: Array
    norms: Array
    massive: Array

    @property
    def is_bf16(self) -> bool:
        return self.operand.dtype == torch.bfloat16


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows' side: operand [P, n]; terms float32 [4, P], the fourth 0; norms float64 [T]. Rows beyond T are zero."""

    operand: torch.Tensor
    terms: Array
    norms: Array


def make_columns(weights: torch.Tensor, massive: Array, *, bf16: bool) -> Columns:
    """Round and bound the features: weights [F, D] float32, massive int64 [|S|], empty in float32."""
    n_terms = weights.shape[1] + 2 * len(massive)
    operand = torch.empty((len(weights), n_terms), dtype=torch.bfloat16) if bf16 else weights
    rest, lost, rest_rounded, split = _measure(weights.numpy(), massive, operand, low_first=True)
    norms, growth = np.hypot(rest, split) * ENLARGE, gamma(n_terms)
    factors = np.stack(
        [
            lost + growth * rest_rounded + UNDERFLOW_FACTOR,
            (1 + growth) * np.maximum(rest_rounded, SMALL * np.maximum(norms, 1)),
            (SPLIT_LOSS + 1.02 * growth) * split + UNDERFLOW_FACTOR,
        ]
    )
    factors[:, norms == 0] = 0  # exactly zero, whatever the row
    floor = np.zeros((1, len(weights)), np.float32)
    return Columns(operand, np.concatenate([_upwards(factors), floor]), norms, massive)


def make_rows(x: Array, columns: Columns, n_padded: int) -> Rows:
    """Round and bound rows: x [T, D] float32, padded with zero rows to P = n_padded.

    The terms of a row that might overflow are NaN, which makes every feature its candidate.
    """
    n_rows, d_in = x.shape
    operand = torch.zeros((n_padded, columns.operand.shape[1]), dtype=columns.operand.dtype)
    if not columns.is_bf16:
        operand[:n_rows] = torch.from_numpy(x)
    rest, lost, _, split = _measure(x, columns.massive, operand, low_first=False)
    norms = np.hypot(rest, split) * ENLARGE
    lost[norms > 0] += TINY
    terms = np.zeros((4, n_padded), np.float32)
    terms[:3, :n_rows] = _upwards(np.stack([rest, lost, split]))
    safe = norms * columns.norms.max(initial=1.0) < SAFE_PRODUCT
    terms[:3, :n_rows][:, ~safe] = np.nan
    return Rows(operand, terms, norms)


def find_massive(x: torch.Tensor) -> Array:
    """Return the few inputs, ascending, that hold far more than their share of the rows' squared norms: x [T, D]."""
    share = x.double().square()
    share /= share.sum(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    largest = share.sum(dim=0).topk(min(MAX_MASSIVE, x.shape[1]))
    return np.sort(largest.indices[largest.values > MASSIVE_SHARE * len(x) / x.shape[1]].numpy())


def _upwards(values: Array) -> Array:
    """Round float64 to float32, up, with room for the float32 arithmetic of the screen's test."""
    with np.errstate(over="ignore"):
        raised = np.nextafter((values * ENLARGE_F32).astype(np.float32), np.float32(np.inf))
    raised[values == 0] = 0
    return raised


def _measure(rows: Array, massive: Array, operand: torch.Tensor, *, low_first: bool) -> tuple[Array, ...]:
    """Write the rows' operand if it is bfloat16; return upper bounds of four norms of each row, float64.

    They are: of R, of what rounding R loses, of R rounded, of S.
    """
    squares = np.zeros((4, len(rows)))
    if operand.dtype == torch.bfloat16:
        is_rest = np.ones(rows.shape[1])
        is_rest[massive] = 0
        _round_rows(rows, massive, is_rest, low_first, operand.view(torch.uint16).numpy(), squares)
    else:
        _square_rows(rows, squares)
    rest, lost, rest_rounded, split = np.sqrt(squares) * ENLARGE
    return rest, lost, rest_rounded, split


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _rounded(bits: Any) -> Any:
    """Round a float32's bits to a bfloat16's, in the upper half; denormals become zero."""
    nearest = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
    return nearest if nearest & np.uint32(0x7F800000) else np.uint32(0)


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})  # type: ignore[untyped-decorator]
def _round_rows(rows: Array, massive: Array, is_rest: Array, low_first: bool, operand: Array, squares: Array) -> None:
    """See `_measure`: is_rest float64 [D], 1 or 0; squares [4, T]."""
    d_in, n_massive = rows.shape[1], len(massive)
    kept = np.empty(d_in, np.uint32)
    rounded = kept.view(np.float32)
    low = np.empty(max(1, n_massive), np.float32)
    for t in range(rows.shape[0]):
        row, bits, out = rows[t], rows[t].view(np.uint32), operand[t]
        rest = lost = rest_rounded = split = 0.0
        for i in range(d_in):
            kept[i] = _rounded(bits[i])
            out[i] = np.uint16(kept[i] >> np.uint32(16))
        for i in range(d_in):
            whole, near = np.float64(row[i]), np.float64(rounded[i])
            rest += is_rest[i] * whole * whole
            lost += is_rest[i] * (whole - near) * (whole - near)
            rest_rounded += is_rest[i] * near * near
        for k in range(n_massive):
            i = massive[k]
            split += np.float64(row[i]) * np.float64(row[i])
            low[k] = row[i] - rounded[i]  # exact
            low_bits = np.uint16(_rounded(low.view(np.uint32)[k]) >> np.uint32(16))
            first, second = (low_bits, out[i]) if low_first else (out[i], low_bits)
            out[d_in + k], out[d_in + n_massive + k] = first, second
        squares[0, t], squares[1, t], squares[2, t], squares[3, t] = rest, lost, rest_rounded, split


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})  # type: ignore[untyped-decorator]
def _square_rows(rows: Array, squares: Array) -> None:
    for t in range(rows.shape[0]):
        total = 0.0
        for value in rows[t]:
            total += np.float64(value) * np.float64(value)
        squares[0, t] = squares[2, t] = total
