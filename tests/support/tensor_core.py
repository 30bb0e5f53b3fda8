"""A tensor core in numpy, for float16 operands and float32 accumulators: the model of arXiv:2512.07004.

One step adds `products` exact products and the accumulator: each addend is cut towards zero at 2^-(23 + extra_bits) of
the largest addend's power of two, where a product's is that of its operands before normalisation and a subnormal
operand's is 2^-14; the sum is exact, and cut to float32.
"""

from __future__ import annotations

import numpy as np

from encoder.arrays import AnyArray

UNITS = {"V100": (4, 0), "A100": (8, 1), "H100": (16, 2)}
NOTHING = -10_000
SMALLEST_NORMAL = -14


def _exponents(a: AnyArray) -> AnyArray:
    return np.where(a == 0, NOTHING, np.frexp(a)[1] - 1)


def multiply(x: AnyArray, W: AnyArray, products: int, extra_bits: int, *, flush: bool = False) -> AnyArray:
    """Compute x [T, D] float16 times W [F, D] float16 as such a unit does -> [T, F] float32.

    `flush` treats subnormal operands as zero, which NVIDIA's units do not.
    """
    x, W = x.astype(np.float64), W.astype(np.float64)
    if flush:
        x, W = (np.where(np.abs(a) < 2.0**SMALLEST_NORMAL, 0.0, a) for a in (x, W))
    c = np.zeros((len(x), len(W)))
    for start in range(0, x.shape[1], products):
        some = slice(start, start + products)
        a, b = x[:, None, some], W[None, :, some]
        exponents = np.maximum(_exponents(a), SMALLEST_NORMAL) + np.maximum(_exponents(b), SMALLEST_NORMAL)
        exponents = np.where((a == 0) | (b == 0), NOTHING, exponents)
        addends = np.concatenate([c[:, :, None], a * b], axis=2)
        largest = np.maximum(_exponents(c), exponents.max(axis=2))
        unit = np.ldexp(1.0, np.maximum(largest, -1000) - 23 - extra_bits)[:, :, None]
        total = (np.trunc(addends / unit) * unit).sum(axis=2)
        last = np.ldexp(1.0, np.maximum(_exponents(total), -1000) - 23)
        c = np.trunc(total / last) * last
    return c.astype(np.float32)
