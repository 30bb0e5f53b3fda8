"""TopK's first pass: for each row a floor that its k-th largest value surely reaches.

A row keeps the k largest lower bounds seen so far, in a heap; the least of them is its floor, 0 at first, for what is
not positive is never active. After all features, whatever cannot reach the floor is not among the k largest: the
screen then runs as for a threshold, with the floor as one more term.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from encoder.kernels.lanes import MASK_LANES, as_float32, lowest_bit, reaching

Array = np.ndarray[Any, Any]

_DOWN = np.float32(1 - 2.0**-20)
_MARGIN = np.float32(2.0**-20)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def raise_floors(
    product: Array, terms: Array, limits: Array, factors: Array, u_out: Any, scale: Array, n_rows: int, heaps: Array
) -> None:
    """Take in a chunk of features: heaps float32 [T, k] and the fourth term, the floor, are updated.

    product [F, P], terms float32 [4, P], limits float32 [F] = -b, factors float32 [4, F], scale float32 [F].
    """
    n_features, n_padded = product.shape
    flat, flat_terms = product.reshape(-1), terms.reshape(-1)
    for j in range(n_features):
        # The bound on the other side of the product: what follows makes sure, so this need not be exact.
        column = (limits[j], -factors[0, j], -factors[1, j], -factors[2, j], factors[3, j])
        for t in range(0, n_rows, MASK_LANES):
            bits = reaching(flat, j * n_padded + t, flat_terms, t, n_padded, column, u_out)
            if n_rows - t < MASK_LANES:
                bits &= (np.uint64(1) << np.uint64(n_rows - t)) - np.uint64(1)
            while bits:
                row = t + lowest_bit(bits)
                bits &= bits - np.uint64(1)
                p = as_float32(product[j, row])
                slack = np.float32(0.0)
                for i in range(3):
                    slack += factors[i, j] * terms[i, row]
                slack += abs(p) * u_out + (abs(p) + abs(limits[j])) * _MARGIN
                least = (p - slack - limits[j]) * scale[j] * _DOWN
                if least > terms[3, row]:  # not for NaN
                    terms[3, row] = _replace_least(heaps[row], least)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _replace_least(heap: Array, value: Any) -> Any:
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
