"""TopK's first pass: for each row a floor that its k-th largest value surely reaches.

A row keeps the k largest lower bounds seen so far, in a heap; the least of them is its floor, 0 at first, for what is
not positive is never active. After all features, whatever cannot reach the floor is not among the k largest: the
screen then runs as for a threshold, with the floor as one more term.
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
    """Return the factors [F, K] with the bound's sign turned: what a lower bound has to reach."""
    turned = factors.copy()
    turned[:, 1:4] *= -1
    return turned


@compiled()
def raise_floors(product: AnyArray, terms: F32, turned: F32, u_out: Any, scale: F32, n_rows: int, heaps: F32) -> None:
    """Take in a chunk of features: heaps float32 [T, k] and the floors, terms[4], are updated.

    product [F, P], terms float32 [K, P], turned float32 [F, K]; scale float32 [F] takes the product's unit to h's.
    """
    n_features, n_padded = product.shape
    flat, flat_terms, flat_factors, n_terms = product.reshape(-1), terms.reshape(-1), turned.reshape(-1), terms.shape[0]
    for j in range(n_features):
        for t in range(0, n_rows, MASK_LANES):
            start = j * n_padded + t
            # Rough: it finds rows that may be worth a look. What follows makes sure.
            bits = reaching(flat, start, flat_terms, t, n_padded, flat_factors, j * n_terms, n_terms, u_out)
            if n_rows - t < MASK_LANES:
                bits &= (np.uint64(1) << np.uint64(n_rows - t)) - np.uint64(1)
            while bits:
                row = t + lowest_bit(bits)
                bits &= bits - np.uint64(1)
                least = _lower_bound(as_float32(product[j, row]), terms, row, turned, j, u_out, product.itemsize == 4)
                least *= scale[j] * _DOWN
                if least > terms[4, row]:  # not for NaN
                    terms[4, row] = _replace_least(heaps[row], least)


@compiled()
def _lower_bound(p: Any, terms: F32, row: int, turned: F32, j: int, u_out: Any, is_scaled: Any) -> Any:
    """Return what h, in the product's unit, surely reaches; NaN where nothing is sure."""
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
    """Put `value` in the place of the heap's least, heap[0]; return the new least."""
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
