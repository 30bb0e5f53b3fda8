"""The choice of the k largest candidates, and the CSR of the active ones, on the device.

Both use only prefix sums and stable sorts, so the result is always in the candidates' order. Shapes: T rows,
n candidates.
"""

from __future__ import annotations

import torch

from encoder.kernels.gpu.transfer import DeviceCsr


def top_k(indptr: torch.Tensor, rows: torch.Tensor, values: torch.Tensor, k: int) -> torch.Tensor:
    """Mark the positive ones among each row's k largest values; of equal values the first ones count as larger.

    indptr [T + 1] int64, rows [n] int, values [n] float64, by rows -> bool [n].
    """
    by_value = torch.sort(-values, stable=True).indices
    by_row = by_value[torch.sort(rows[by_value], stable=True).indices]
    place = torch.empty_like(by_row)
    place[by_row] = torch.arange(len(by_row), device=values.device)
    return (place - indptr[rows.long()] < k) & (values > 0)


def assemble(indptr: torch.Tensor, columns: torch.Tensor, values: torch.Tensor, keep: torch.Tensor) -> DeviceCsr:
    """Take the candidates where `keep` holds, with values rounded to float32.

    A value that would round to 0 becomes the smallest float32 instead, so that rounding switches no feature off.
    """
    n_kept = torch.zeros(len(keep) + 1, dtype=torch.int64, device=keep.device)
    torch.cumsum(keep, 0, dtype=torch.int64, out=n_kept[1:])
    kept = values[keep]
    data = kept.float()
    smallest = torch.finfo(torch.float32).smallest_normal * torch.finfo(torch.float32).eps
    data[(data == 0) & (kept != 0)] = smallest
    return DeviceCsr(n_kept[indptr], columns[keep], data)
