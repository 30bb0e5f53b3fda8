"""The first pass for TopK: each row gets a floor, a value that its k-th largest feature surely reaches.

A heap keeps a row's k largest lower bounds so far; the least of them is the row's floor. The floor starts at 0, because
a feature that is not positive is never active. After the pass over all features, a feature that cannot reach the floor
is not among the k largest. The screen then runs as for a threshold, with the floor as one more term of the limit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from encoder.arrays import F32, AnyArray
from encoder.kernels.cpu.lanes import MASK_LANES, as_float32, lowest_bit, reaching
from encoder.machine.compiled import compiled

_DOWN = np.float32(1 - 2.0**-20)
_MARGIN = np.float32(2.0**-18)


def other_side(factors: F32) -> F32:
    """Return the factors [F, K] with the sign of the bound turned, which makes an upper bound a lower bound."""
    turned = factors.copy()
    turned[:, 1:4] *= -1
    return turned


@compiled()
def raise_floors(product: AnyArray, terms: F32, turned: F32, u_out: Any, scale: F32, n_rows: int, heaps: F32) -> None:
    """Take in a chunk of features: the heaps [T, k] and the floors, which are terms[4], are updated.

    product [F, P], terms [K, P], turned [F, K]; a product times scale [F] is in the unit of h.
    """
    n_features, n_padded = product.shape
    flat, flat_terms, flat_factors, n_terms = product.reshape(-1), terms.reshape(-1), turned.reshape(-1), terms.shape[0]
    for j in range(n_features):
        for t in range(0, n_rows, MASK_LANES):
            start = j * n_padded + t
            # `reaching` finds rows that may raise their floor; the lower bound below takes the rounding into account.
            bits = reaching(flat, start, flat_terms, t, n_padded, flat_factors, j * n_terms, n_terms, u_out)
            if n_rows - t < MASK_LANES:
                bits &= (np.uint64(1) << np.uint64(n_rows - t)) - np.uint64(1)
            while bits:
                row = t + lowest_bit(bits)
                bits &= bits - np.uint64(1)
                least = _lower_bound(as_float32(product[j, row]), terms, row, turned, j, u_out, product.itemsize == 4)
                least *= scale[j] * _DOWN
                if least > terms[4, row]:  # false for NaN
                    terms[4, row] = _replace_least(heaps[row], least)


@compiled()
def _lower_bound(p: Any, terms: F32, row: int, turned: F32, j: int, u_out: Any, is_scaled: Any) -> Any:
    """Return a lower bound of h, in the product's unit; NaN if there is none."""
    if is_scaled:
        p *= terms[0, row]
    value, size = p - turned[j, 0], abs(p) + abs(turned[j, 0])
    for k in range(5, terms.shape[0]):
        share = turned[j, k] * terms[k, row]
        value, size = value + share, size + abs(share)
    for k in range(1, 4):
        value += turned[j, k] * terms[k, row]
    return value - abs(p) * u_out - size * _MARGIN


@compiled()
def _replace_least(heap: F32, value: Any) -> Any:
    """Replace the least value of the heap, heap[0], by `value`; return the new least value."""
    place, n = 0, len(heap)
    while True:
        child = 2 * place + 1
        if child >= n:
            break
        if child + 1 < n and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[place] = heap[child]
        place = child
    heap[place] = value
    return heap[0]
