"""The screen in Triton: which features the bound of tensor_core_bound.py cannot rule out.

    scale_rows   x [T, D] f32 -> xs [T, D] f16, and of each row r, A, B and whether xs is exactly x
    screen       xs, W -> a mask [T, ceil(F / 32)] int32, bit j % 32 of word j // 32 for feature j

The test stands in the product's epilogue, so the dense product stays in registers. What is written is the mask, one bit
a pair, 1/32 of a float32 product: the order of candidates is then a matter of where bits are, with no atomics, and one
product is enough. (Counts first and indices in a second pass would need two.)

TopK needs the k-th largest lower bound first. A pass of its own writes the largest lower bound of each `group` of
neighbouring features; the k-th largest of these is exceeded by at least k features, so what cannot reach it is out.

Per token at 2,304 -> 16,384: 75.5 MFLOP (76 ns at 989 TFLOP/s); 14 kB of scale_rows' reads and writes, 2 kB of mask,
and W's 75 MB once for every few thousand rows.

T, D, F: rows, d_in, d_sae. Addresses are int64: T F alone exceeds 2^31 at 131,072 x 16,384. D and F are compile-time
constants, for an SAE has one of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl

from encoder.kernels.tensor_core_bound import ENLARGE, LARGEST_EXPONENT, Columns, accumulation, flush

_EXPONENT = tl.constexpr(LARGEST_EXPONENT)
LOWER, CANDIDATES = 0, 1
_LOWER = tl.constexpr(LOWER)


@dataclass(frozen=True, slots=True)
class Blocks:
    """How the work is cut. No bytes depend on it, except that `pairs` may set the order of rescore's sums."""

    tokens: int = 128  # of the product's tile
    features: int = 256  # of the product's tile, a multiple of 32
    inputs: int = 64  # at a time
    sharing: int = 8  # rows of tiles that use the same tiles of W at the same time
    warps: int = 8
    stages: int = 3
    pairs: int = 8  # rescored by a program
    rows: int = 1  # scaled, counted or expanded by a program; more only pay in the interpreter


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
    x_ptr: Any,
    scaled_ptr: Any,
    scale_ptr: Any,
    norm_ptr: Any,
    error_ptr: Any,
    exact_ptr: Any,
    T: Any,
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


@triton.jit
def _screen(
    x_ptr: Any,
    scale_ptr: Any,
    row_norm_ptr: Any,
    row_error_ptr: Any,
    least_ptr: Any,
    W_ptr: Any,
    unscale_ptr: Any,
    error_ptr: Any,
    norm_ptr: Any,
    offset_ptr: Any,
    out_ptr: Any,
    T: Any,
    D: tl.constexpr,
    F: tl.constexpr,
    IS_TOP_K: tl.constexpr,
    MODE: tl.constexpr,
    GROUP: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_F: tl.constexpr,
    BLOCK_D: tl.constexpr,
    SHARING: tl.constexpr,
) -> None:
    # Programs that run at the same time share rows of x and columns of W in the cache.
    n_f: tl.constexpr = (F + BLOCK_F - 1) // BLOCK_F
    n_t = (T + BLOCK_T - 1) // BLOCK_T
    program = tl.program_id(0)
    first = program // (SHARING * n_f) * SHARING
    height = tl.minimum(n_t - first, SHARING)
    within = program % (SHARING * n_f)
    t = (first + within % height).to(tl.int64) * BLOCK_T + tl.arange(0, BLOCK_T)
    f_block = within // height
    f = f_block.to(tl.int64) * BLOCK_F + tl.arange(0, BLOCK_F)
    is_row, is_feature = t < T, f < F

    product = tl.zeros((BLOCK_T, BLOCK_F), tl.float32)
    for start in range(0, D, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        x = tl.load(x_ptr + t[:, None] * D + d[None, :], mask=is_row[:, None] & (d < D)[None, :], other=0.0)
        w = tl.load(W_ptr + f[None, :] * D + d[:, None], mask=is_feature[None, :] & (d < D)[:, None], other=0.0)
        product = tl.dot(x, w, product)

    scale = tl.load(scale_ptr + t, mask=is_row, other=0.0)
    row_norm = tl.load(row_norm_ptr + t, mask=is_row, other=0.0)
    row_error = tl.load(row_error_ptr + t, mask=is_row, other=0.0)
    unscale = tl.load(unscale_ptr + f, mask=is_feature, other=0.0)
    error = tl.load(error_ptr + f, mask=is_feature, other=0.0)
    norm = tl.load(norm_ptr + f, mask=is_feature, other=0.0)
    offset = scale[:, None] * tl.load(offset_ptr + f, mask=is_feature, other=0.0)[None, :]
    bound = row_norm[:, None] * error[None, :] + row_error[:, None] * norm[None, :]
    value = product * unscale[None, :]
    if IS_TOP_K:
        value += offset
        bound += tl.abs(offset) * 2.384185791015625e-07  # 2^-22
    if MODE == _LOWER:
        lower = value - bound
        is_number = (lower == lower) & is_feature[None, :]
        lower = tl.where(is_number, lower, float("-inf"))
        n_groups: tl.constexpr = (F + GROUP - 1) // GROUP
        largest = tl.max(tl.reshape(lower, (BLOCK_T, BLOCK_F // GROUP, GROUP)), 2)
        group = f_block.to(tl.int64) * (BLOCK_F // GROUP) + tl.arange(0, BLOCK_F // GROUP)
        inside = is_row[:, None] & (group < n_groups)[None, :]
        tl.store(out_ptr + t[:, None] * n_groups + group[None, :], largest, mask=inside)
    else:
        upper = value + bound
        if IS_TOP_K:
            least = tl.load(least_ptr + t, mask=is_row, other=0.0)
            is_out = (upper < least[:, None]) | (upper <= 0)
        else:
            is_out = upper <= offset
        # Not "is candidate = the opposite comparison": NaN must make a candidate.
        is_candidate = (is_out == 0) & is_feature[None, :]
        n_words: tl.constexpr = (F + 31) // 32
        bits = tl.reshape(is_candidate.to(tl.int32), (BLOCK_T, BLOCK_F // 32, 32))
        words = tl.sum(bits << tl.arange(0, 32)[None, None, :], 2)
        word = f_block.to(tl.int64) * (BLOCK_F // 32) + tl.arange(0, BLOCK_F // 32)
        inside = is_row[:, None] & (word < n_words)[None, :]
        tl.store(out_ptr + t[:, None] * n_words + word[None, :], words, mask=inside)


def screen(rows: Rows, columns: Columns, blocks: Blocks, *, k: int | None = None) -> torch.Tensor:
    """Return the mask of candidates [T, ceil(F / 32)] int32; with `k`, of those that may be among the k largest."""
    F = len(columns.W)
    if k is None:
        return _launch(rows, columns, blocks, CANDIDATES, 1, rows.scale, is_top_k=False)
    group = group_size(F, k)
    lower = _launch(rows, columns, blocks, LOWER, group, rows.scale, is_top_k=True)
    if k <= lower.shape[1]:
        least = lower.topk(k, dim=1).values[:, -1].contiguous()
    else:
        least = torch.full_like(rows.scale, -torch.inf)
    return _launch(rows, columns, blocks, CANDIDATES, 1, least, is_top_k=True)


def group_size(d_sae: int, k: int) -> int:
    """Return how many neighbours share a lower bound: as many as leave 4 k groups, so that few of the k collide."""
    size = 32
    while size > 1 and d_sae < 4 * k * size:
        size //= 2
    return size


def _launch(
    rows: Rows, columns: Columns, blocks: Blocks, mode: int, group: int, least: torch.Tensor, *, is_top_k: bool
) -> torch.Tensor:
    (T, D), F = rows.x.shape, len(columns.W)
    width, dtype = (-(-F // group), torch.float32) if mode == LOWER else (-(-F // 32), torch.int32)
    out = torch.empty(T, width, dtype=dtype, device=rows.x.device)
    grid = -(-T // blocks.tokens) * -(-F // blocks.features)
    if grid:
        _screen[(grid,)](
            rows.x, rows.scale, rows.norm, rows.error, least,
            columns.W, columns.unscale, columns.error, columns.norm, columns.offset,
            out, T, D, F, is_top_k, mode, group,
            blocks.tokens, blocks.features, blocks.inputs, blocks.sharing,
            num_warps=blocks.warps, num_stages=blocks.stages,
        )  # fmt: skip
    return out
