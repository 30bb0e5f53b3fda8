"""The screen in Triton: which features the bound of tensor_core_bound.py cannot rule out.

    xs [T, D], W [F, D], both f16 or both i8 -> a mask [T, ceil(F / 32)] int32, bit j % 32 of word j // 32 for feature j

The test stands in the product's epilogue, so the dense product stays in registers. The test takes 64 features at a
time, because the numbers that it needs of all features would not fit into registers beside the product. What is written
is the mask, one bit a pair, 1/32 of a float32 product: the order of candidates is then a matter of where bits are, with
no atomics, and one product is enough. (Counts first and indices in a second pass would need two.)

TopK needs the k-th largest lower bound first. A pass of its own writes the largest lower bound of each `group` of
neighbouring features; the k-th largest of these is exceeded by at least k features, so what cannot reach it is out.

Per token at 2,304 -> 16,384: 75.5 MFLOP (76 ns at 989 TFLOP/s); 2 kB of mask, and W's 75 MB once for every few thousand
rows.

T, D, F: rows, d_in, d_sae. Addresses are int64: T F alone exceeds 2^31 at 131,072 x 16,384. D and F are compile-time
constants, for an SAE has one of each.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import triton
import triton.language as tl

from encoder.kernels.gpu.tensor_core_bound import Columns
from encoder.kernels.gpu.triton_rows import Rows

LOWER, CANDIDATES = 0, 1
_LOWER = tl.constexpr(LOWER)


@dataclass(frozen=True, slots=True)
class Blocks:
    """How the work is cut. No bytes depend on it, except that `pairs` may set the order of rescore's sums.

    Untimed. Compiled for sm_80, sm_90 and sm_100 nothing is spilled (docs/gpu-kernels.md). 128 features would leave
    room for two programs on a multiprocessor, for a third more reads from the second-level cache: 4.8 GB a tile, not
    3.6.
    """

    tokens: int = 128  # of the product's tile
    features: int = 256  # of the product's tile, a multiple of 32
    inputs: int = 64  # at a time
    sharing: int = 8  # rows of tiles that use the same tiles of W at the same time
    warps: int = 8
    stages: int = 3
    pairs: int = 8  # rescored by a program
    rows: int = 1  # scaled, counted or expanded by a program; more only pay in the interpreter


def for_int8(blocks: Blocks) -> Blocks:
    """Return how an int8 product is cut: its test takes more registers, and an input half of the bytes."""
    return replace(blocks, features=min(blocks.features, 128), inputs=2 * blocks.inputs)


def blocks_for(device: torch.device, d_in: int) -> Blocks:
    """Return how the work is cut for an SAE on a device."""
    return blocks_of(torch.cuda.get_device_capability(device), d_in) if device.type == "cuda" else Blocks()


def blocks_of(capability: tuple[int, int], d_in: int) -> Blocks:
    """Choose by shared memory: the default takes 147 kB, which A100, H100 and B200 have; other chips get 66 kB.

    On an A100 inputs that do not fill the last block need masks, for which the default leaves no registers.
    """
    if capability not in ((8, 0), (9, 0), (10, 0), (10, 3)):
        return Blocks(features=128, stages=2)
    blocks = Blocks()
    return Blocks(features=128) if capability == (8, 0) and d_in % blocks.inputs else blocks


@triton.jit
def _halves(product: tl.tensor, ROWS: tl.constexpr, COLUMNS: tl.constexpr) -> tl.tuple:
    """Cut a tile [ROWS, COLUMNS] between columns; each thread keeps what it holds."""
    return tl.split(tl.permute(tl.reshape(product, (ROWS, 2, COLUMNS // 2)), (0, 2, 1)))


@triton.jit
def _slices(product: tl.tensor, ROWS: tl.constexpr, COLUMNS: tl.constexpr) -> tl.tuple:
    """Cut a tile of 32, 64, 128 or 256 columns into slices of at most 64."""
    # One `return`: the compiler wants all of them to be of one type.
    if COLUMNS <= 64:
        slices: Any = (product,)
    elif COLUMNS == 128:
        slices = _halves(product, ROWS, COLUMNS)
    else:
        left, right = _halves(product, ROWS, COLUMNS)
        a, b = _halves(left, ROWS, COLUMNS // 2)
        c, d = _halves(right, ROWS, COLUMNS // 2)
        slices = a, b, c, d
    return slices


@triton.jit
def _screen(
    x_ptr: tl.tensor,
    scale_ptr: tl.tensor,
    row_norm_ptr: tl.tensor,
    row_error_ptr: tl.tensor,
    least_ptr: tl.tensor,
    W_ptr: tl.tensor,
    unscale_ptr: tl.tensor,
    error_ptr: tl.tensor,
    norm_ptr: tl.tensor,
    offset_ptr: tl.tensor,
    terms_ptr: tl.tensor,
    factors_ptr: tl.tensor,
    out_ptr: tl.tensor,
    T: tl.tensor,
    D: tl.constexpr,
    F: tl.constexpr,
    IS_INT8: tl.constexpr,
    N_TERMS: tl.constexpr,
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
    n_groups: tl.constexpr = (F + GROUP - 1) // GROUP
    n_words: tl.constexpr = (F + 31) // 32
    n_t = (T + BLOCK_T - 1) // BLOCK_T
    program = tl.program_id(0)
    first = program // (SHARING * n_f) * SHARING
    height = tl.minimum(n_t - first, SHARING)
    within = program % (SHARING * n_f)
    t = (first + within % height).to(tl.int64) * BLOCK_T + tl.arange(0, BLOCK_T)
    f_first = (within // height).to(tl.int64) * BLOCK_F
    f_tile = f_first + tl.arange(0, BLOCK_F)
    is_row, is_in_tile = t < T, f_tile < F

    product = tl.zeros((BLOCK_T, BLOCK_F), tl.int32 if IS_INT8 else tl.float32)
    for start in range(0, D, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        x = tl.load(x_ptr + t[:, None] * D + d[None, :], mask=is_row[:, None] & (d < D)[None, :], other=0.0)
        w = tl.load(W_ptr + f_tile[None, :] * D + d[:, None], mask=is_in_tile[None, :] & (d < D)[:, None], other=0.0)
        product = tl.dot(x, w, product, out_dtype=product.dtype)

    scale = tl.load(scale_ptr + t, mask=is_row, other=0.0)
    row_norm = tl.load(row_norm_ptr + t, mask=is_row, other=0.0)
    row_error = tl.load(row_error_ptr + t, mask=is_row, other=0.0)
    least = tl.load(least_ptr + t, mask=is_row, other=0.0)
    # The product fills half of a thread's registers. So a slice's columns are loaded when the one before is done with.
    WIDTH: tl.constexpr = min(64, BLOCK_F)
    slices = _slices(product, BLOCK_T, BLOCK_F)
    for i in tl.static_range(BLOCK_F // WIDTH):
        f = f_first + i * WIDTH + tl.arange(0, WIDTH)
        is_feature = f < F
        unscale = tl.load(unscale_ptr + f, mask=is_feature, other=0.0)
        error = tl.load(error_ptr + f, mask=is_feature, other=0.0)
        norm = tl.load(norm_ptr + f, mask=is_feature, other=0.0)
        offset = scale[:, None] * tl.load(offset_ptr + f, mask=is_feature, other=0.0)[None, :]
        bound = row_norm[:, None] * error[None, :] + row_error[:, None] * norm[None, :]
        value = slices[i].to(tl.float32) * unscale[None, :]
        if IS_INT8:
            row_split = tl.load(terms_ptr + t, mask=is_row, other=0.0)
            bound += row_split[:, None] * tl.load(factors_ptr + f, mask=is_feature, other=0.0)[None, :]
            for s in range(1, N_TERMS):
                term = tl.load(terms_ptr + s * T + t, mask=is_row, other=0.0)
                factor = tl.load(factors_ptr + s * F + f, mask=is_feature, other=0.0)
                value += term[:, None] * factor[None, :]
        if IS_TOP_K:
            value += offset
        if IS_TOP_K or IS_INT8:
            bound += tl.abs(offset) * 2.384185791015625e-07  # 2^-22
        if MODE == _LOWER:
            lower = value - bound
            is_number = (lower == lower) & is_feature[None, :]
            lower = tl.where(is_number, lower, float("-inf"))
            largest = tl.max(tl.reshape(lower, (BLOCK_T, WIDTH // GROUP, GROUP)), 2)
            group = (f_first + i * WIDTH) // GROUP + tl.arange(0, WIDTH // GROUP)
            inside = is_row[:, None] & (group < n_groups)[None, :]
            tl.store(out_ptr + t[:, None] * n_groups + group[None, :], largest, mask=inside)
        else:
            upper = value + bound
            is_out = (upper < least[:, None]) | (upper <= 0) if IS_TOP_K else upper <= offset
            # Not "is candidate = the opposite comparison": NaN must make a candidate.
            is_candidate = (is_out == 0) & is_feature[None, :]
            bits = tl.reshape(is_candidate.to(tl.int32), (BLOCK_T, WIDTH // 32, 32))
            words = tl.sum(bits << tl.arange(0, 32)[None, None, :], 2)
            word = (f_first + i * WIDTH) // 32 + tl.arange(0, WIDTH // 32)
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
            columns.W, columns.unscale, columns.error, columns.norm, columns.offset, rows.terms, columns.factors,
            out, T, D, F, columns.W.dtype == torch.int8, len(columns.factors), is_top_k, mode, group,
            blocks.tokens, blocks.features, blocks.inputs, blocks.sharing,
            num_warps=blocks.warps, num_stages=blocks.stages,
        )  # fmt: skip
    return out
