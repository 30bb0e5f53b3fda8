"""The screen's view of the rows, in Triton: rounded to float16, with what tensor_core_bound.py needs to know of it.

    x [T, D] f32 -> xs [T, D] f16, and of each row r, A, B and whether xs is exactly x

Per token at D = 2,304: 14 kB of reads and writes. T, D: rows, d_in; D is a compile-time constant. Addresses are int64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from encoder.kernels.gpu.tensor_core_bound import ENLARGE, LARGEST_EXPONENT, accumulation, flush

_EXPONENT = tl.constexpr(LARGEST_EXPONENT)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows as the screen sees them: x [T, D] float16, and [T] each of r, A, B float32 and exact int32."""

    x: torch.Tensor
    scale: torch.Tensor
    norm: torch.Tensor
    error: torch.Tensor
    exact: torch.Tensor


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
    )
    # The sums of squares are float32's: at most D roundings, halved by the root, and then those of the rest.
    enlarge = ENLARGE * (1 + (D + 8) * 2.0**-24)
    if T:
        _scale_rows[(-(-T // rows_per_program),)](
            x, rows.x, scale, norm, error, rows.exact,
            T, accumulation(D) + 2.0**-21, flush(D), enlarge, D, rows_per_program, max(16, triton.next_power_of_2(D)),
            num_warps=8 if D > 1024 else 4,
        )  # fmt: skip
    return rows
