"""Massive inputs: a few inputs that contribute far more than their share to the rows' norms, as in Gemma.

A coarse product leaves them out, because its rounding is relative to the largest input of a row; their share of a
feature is added in float32. Shapes: T rows, D = d_in.
"""

from __future__ import annotations

import numpy as np
import torch

from encoder.arrays import I64

MAX_MASSIVE = 8
MASSIVE_SHARE = 16
"""An input is massive if it contributes this many times the average input's share of the rows' squared norms."""
FIRST_ROWS = 512
"""The number of rows that decide which inputs are massive, and which precision is the fastest."""


def find_massive(x: torch.Tensor) -> I64:
    """Return the massive inputs of rows x [T, D], ascending; x may be on any device.

    The largest is found first and taken out, then the largest of the others: beside an input of 1,000 times the
    average, an input of 50 times the average would not stand out.
    """
    squares, massive = x.double().square(), list[int]()
    while len(massive) < MAX_MASSIVE:
        squares[:, massive] = 0
        share = (squares / squares.sum(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)).sum(dim=0)
        largest = int(share.argmax())
        if share[largest] <= MASSIVE_SHARE * len(x) / x.shape[1]:
            break
        massive.append(largest)
    return np.sort(np.array(massive, np.int64))
