"""The candidates' pre-activations again in Triton, in float64, where a product of two float32 is exact.

Each pair is summed in one order, fixed by `INPUTS` and `pairs` and by nothing else: neither the tile, the batch nor the
pair's neighbours. These constants are part of the bytes, so they are not tuned at run time.

Pairs are worked off by feature: neighbours share W's row (9.2 kB at D = 2,304), which stays in the first-level cache,
and gather rows of x from a tile that fits the second-level one. By rows it would be the other way about, and W's
151 MB do not fit. Where every row is exactly its float16 scaled copy (bfloat16 and float16 activations), that copy is
read, and the sum divided by the row's power of two: the same bits, for half the traffic.

Estimate for 115 candidates a token: 0.53 MFLOP in float64 (16 ns at 34 TFLOP/s), 0.53 MB of x from the second-level
cache with float16 rows (about 100 ns at 5.5 TB/s), twice that with float32. Unmeasured.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

INPUTS = 256
"""Inputs at a time."""


@triton.jit
def _rescore(
    x_ptr: tl.tensor,
    scale_ptr: tl.tensor,
    W_ptr: tl.tensor,
    b_ptr: tl.tensor,
    rows_ptr: tl.tensor,
    columns_ptr: tl.tensor,
    order_ptr: tl.tensor,
    values_ptr: tl.tensor,
    n: tl.tensor,
    D: tl.constexpr,
    IS_SCALED: tl.constexpr,
    PAIRS: tl.constexpr,
    BLOCK_D: tl.constexpr,
) -> None:
    i = tl.program_id(0).to(tl.int64) * PAIRS + tl.arange(0, PAIRS)
    is_pair = i < n
    at = tl.load(order_ptr + i, mask=is_pair, other=0)
    t = tl.load(rows_ptr + at, mask=is_pair, other=0).to(tl.int64)
    j = tl.load(columns_ptr + at, mask=is_pair, other=0).to(tl.int64)
    sums = tl.zeros((PAIRS, BLOCK_D), tl.float64)
    for start in range(0, D, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        inside = is_pair[:, None] & (d < D)[None, :]
        x = tl.load(x_ptr + t[:, None] * D + d[None, :], mask=inside, other=0.0).to(tl.float64)
        w = tl.load(W_ptr + j[:, None] * D + d[None, :], mask=inside, other=0.0).to(tl.float64)
        sums += x * w
    dot = tl.sum(sums, 1)
    if IS_SCALED:
        dot = dot / tl.load(scale_ptr + t, mask=is_pair, other=1.0).to(tl.float64)
    h = dot + tl.load(b_ptr + j, mask=is_pair, other=0.0).to(tl.float64)
    tl.store(values_ptr + at, h, mask=is_pair)


def rescore(
    x: torch.Tensor,
    scale: torch.Tensor | None,
    rows_of_W: torch.Tensor,
    b_enc: torch.Tensor,
    rows: torch.Tensor,
    columns: torch.Tensor,
    pairs: int,
) -> torch.Tensor:
    """Compute h = x.w + b of each pair in float64, `pairs` by a program.

    Shapes: x [T, D] f32, or f16 multiplied by scale [T] f32; rows_of_W [F, D], b_enc [F] f32; rows, columns [n] int32
    -> [n] f64, in their order.
    """
    n, D = len(columns), x.shape[1]
    values = torch.empty(n, dtype=torch.float64, device=x.device)
    if n:
        order = torch.sort(columns, stable=True).indices
        _rescore[(-(-n // pairs),)](
            x, b_enc if scale is None else scale, rows_of_W, b_enc, rows, columns, order, values,
            n, D, scale is not None, pairs, INPUTS, num_warps=4,
        )  # fmt: skip
    return values
