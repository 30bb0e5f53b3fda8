"""The screen's view of the rows, in Triton: rounded, with what tensor_core_bound.py needs to know of it.

    x [T, D] f32 -> xs [T, D] f16, and of each row r, A, B and whether xs is exactly x
                 -> xq [T, D] i8, and of each row r, A, B and its terms: C, and r x_i of the massive inputs i

Per token at D = 2,304: 14 kB of reads and writes. T, D: rows, d_in; D is a compile-time constant. Addresses are int64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from encoder.kernels.gpu.tensor_core_bound import (
    ENLARGE,
    INT8_LOSS,
    LARGEST_EXPONENT,
    LARGEST_INT8,
    Columns,
    accumulation,
    flush,
)

_EXPONENT = tl.constexpr(LARGEST_EXPONENT)
_LARGEST_INT8 = tl.constexpr(float(LARGEST_INT8))


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows as the screen sees them: x [T, D] float16 or int8, and float32 [T] each of r, A and B.

    `exact` int32 [T] says of a float16 row that no entry was rounded; `terms` float32 [1 + S, T] are an int8 row's.
    """

    x: torch.Tensor
    scale: torch.Tensor
    norm: torch.Tensor
    error: torch.Tensor
    exact: torch.Tensor
    terms: torch.Tensor


@triton.jit
def _scale_rows(
    x_ptr: tl.tensor,
    scaled_ptr: tl.tensor,
    scale_ptr: tl.tensor,
    norm_ptr: tl.tensor,
    error_ptr: tl.tensor,
    exact_ptr: tl.tensor,
    T: tl.tensor,
    accumulation: tl.constexpr,
    flush: tl.constexpr,
    enlarge: tl.constexpr,
    D: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    t = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)
    is_row = t < T
    at, inside = t[:, None] * D + d[None, :], is_row[:, None] & (d < D)[None, :]
    x = tl.load(x_ptr + at, mask=inside, other=0.0)
    largest = tl.max(tl.abs(x), 1)
    exponent = (largest.to(tl.int32, bitcast=True) >> 23) - 127
    shift = tl.where(largest > 0, tl.minimum(_EXPONENT - exponent, 100), 0)
    scale = ((shift + 127) << 23).to(tl.float32, bitcast=True)
    back = ((127 - shift) << 23).to(tl.float32, bitcast=True)
    wide = x * scale[:, None]
    scaled = wide.to(tl.float16)
    narrow = scaled.to(tl.float32)
    norm = tl.sqrt_rn(tl.sum(narrow * narrow, 1))
    rounding = tl.sqrt_rn(tl.sum((wide - narrow) * (wide - narrow), 1))
    error = (rounding + accumulation * norm + flush) * enlarge
    is_same = (narrow * back[:, None]).to(tl.int32, bitcast=True) == x.to(tl.int32, bitcast=True)
    tl.store(scaled_ptr + at, scaled, mask=inside)
    tl.store(scale_ptr + t, scale, mask=is_row)
    tl.store(norm_ptr + t, (norm + rounding) * enlarge, mask=is_row)
    tl.store(error_ptr + t, tl.where(largest == 0, 0.0, error), mask=is_row)
    tl.store(exact_ptr + t, tl.min(is_same.to(tl.int32), 1), mask=is_row)


@triton.jit
def _quantize_rows(
    x_ptr: tl.tensor,
    massive_ptr: tl.tensor,
    rounded_ptr: tl.tensor,
    scale_ptr: tl.tensor,
    norm_ptr: tl.tensor,
    error_ptr: tl.tensor,
    terms_ptr: tl.tensor,
    T: tl.tensor,
    safe: tl.tensor,
    loss: tl.constexpr,
    UNDERFLOW: tl.constexpr,
    enlarge: tl.constexpr,
    D: tl.constexpr,
    N_MASSIVE: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    t = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)
    is_row = t < T
    at, inside = t[:, None] * D + d[None, :], is_row[:, None] & (d < D)[None, :]
    is_rest = d < D
    for s in tl.static_range(N_MASSIVE):
        is_rest = is_rest & (d != tl.load(massive_ptr + s))
    x = tl.load(x_ptr + at, mask=inside & is_rest[None, :], other=0.0)
    largest = tl.max(tl.abs(x), 1)
    scale = tl.where(largest > 0, _LARGEST_INT8 / tl.maximum(largest, 1.1e-28), 1.0)  # at most 2^100
    wide = x * scale[:, None]
    # Adding 1.5 * 2^23 rounds to a whole number, the nearest one.
    narrow = tl.minimum(tl.maximum((wide + 12582912.0) - 12582912.0, -_LARGEST_INT8), _LARGEST_INT8)
    rounding = tl.sqrt_rn(tl.sum((wide - narrow) * (wide - narrow), 1))
    norm = tl.sqrt_rn(tl.sum(narrow * narrow, 1))
    underflow = tl.where(largest == 0, 0.0, UNDERFLOW)
    split = underflow
    for s in tl.static_range(N_MASSIVE):
        term = scale * tl.load(x_ptr + t * D + tl.load(massive_ptr + s), mask=is_row, other=0.0)
        split += tl.abs(term)
        tl.store(terms_ptr + (s + 1) * T + t, term, mask=is_row)
    whole = (norm + rounding) * enlarge + underflow * D
    error = (rounding + loss * norm) * enlarge + underflow
    error = tl.where(whole + split < safe, error, float("nan"))
    tl.store(rounded_ptr + at, narrow.to(tl.int8), mask=inside)
    tl.store(scale_ptr + t, scale, mask=is_row)
    tl.store(norm_ptr + t, whole, mask=is_row)
    tl.store(error_ptr + t, error, mask=is_row)
    tl.store(terms_ptr + t, split * enlarge, mask=is_row)


def scale_rows(x: torch.Tensor, rows_per_program: int = 1) -> Rows:
    """Scale, round and measure x [T, D] float32, contiguous."""
    T, D = x.shape
    scale, norm, error = (torch.empty(T, dtype=torch.float32, device=x.device) for _ in range(3))
    rows = Rows(
        torch.empty(T, D, dtype=torch.float16, device=x.device),
        scale,
        norm,
        error,
        torch.empty(T, dtype=torch.int32, device=x.device),
        torch.empty(0, T, dtype=torch.float32, device=x.device),
    )
    enlarge = _enlarge(D)
    if T:
        _scale_rows[(-(-T // rows_per_program),)](
            x, rows.x, scale, norm, error, rows.exact,
            T, accumulation(D) + 2.0**-21, flush(D), enlarge, D, rows_per_program, max(16, triton.next_power_of_2(D)),
            num_warps=8 if D > 1024 else 4,
        )  # fmt: skip
    return rows


def quantize_rows(x: torch.Tensor, columns: Columns, rows_per_program: int = 1) -> Rows:
    """Round and measure x [T, D] float32, contiguous, for the int8 product with `columns`."""
    (T, D), n_massive = x.shape, len(columns.massive)
    scale, norm, error = (torch.empty(T, dtype=torch.float32, device=x.device) for _ in range(3))
    rounded = torch.empty(T, D, dtype=torch.int8, device=x.device)
    terms = torch.empty(1 + n_massive, T, dtype=torch.float32, device=x.device)
    if T:
        _quantize_rows[(-(-T // rows_per_program),)](
            x, columns.massive, rounded, scale, norm, error, terms,
            T, columns.safe, INT8_LOSS, 2.0**-60, _enlarge(D), D, n_massive, rows_per_program,
            max(16, triton.next_power_of_2(D)), num_warps=8 if D > 1024 else 4,
        )  # fmt: skip
    return Rows(rounded, scale, norm, error, torch.empty(0, dtype=torch.int32, device=x.device), terms)


def _enlarge(d_in: int) -> float:
    """Return what covers a float32 sum of squares: at most D roundings, halved by the root, and those of the rest."""
    return ENLARGE * (1 + (d_in + 8) * 2.0**-24)
