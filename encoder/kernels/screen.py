"""Scan a chunk of the product against the bound, compute what is left in float64, and put it into rows.

    product [F, P] of a chunk of features, fresh in the cache
        scan      the rows that reach feature j's limit, for every j: hits, by feature, then by row
        rescore   h = x.w + b of each hit in float64; a feature's weights are loaded once for all its rows
    all chunks' hits
        transpose by feature -> by row, columns ascending: the candidates' CSR

Single passes, compiled, without the GIL. Shapes: T rows, P their number padded to whole masks, F features, D = d_in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from encoder.kernels.lanes import MASK_LANES, dot, lowest_bit, reaching

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Hits:
    """Candidates by feature: rows int32 [nnz], counts int64 [F] of each feature's, values float64 [nnz]."""

    rows: Array
    counts: Array
    values: Array


@dataclass(frozen=True, slots=True)
class Candidates:
    """Candidates by row: indptr int64 [T + 1], indices int32 [nnz] rising within a row, values float64 [nnz]."""

    indptr: Array
    indices: Array
    values: Array


def by_row(hits: list[Hits], n_rows: int) -> Candidates:
    """Put the hits of consecutive chunks of features, from feature 0 on, into rows."""
    indptr = np.zeros(n_rows + 1, np.int64)
    for part in hits:
        indptr[1:] += np.bincount(part.rows, minlength=n_rows)
    np.cumsum(indptr, out=indptr)
    indices, values = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.float64)
    place, first = indptr[:-1].copy(), 0
    for part in hits:
        _transpose(part.rows, part.counts, part.values, first, place, indices, values)
        first += len(part.counts)
    return Candidates(indptr, indices, values)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def scan(
    product: Array, terms: Array, limits: Array, factors: Array, u_out: Any, n_rows: int, rows: Array, counts: Array
) -> int:
    """Write down which rows reach each feature's limit, by feature; return how many do.

    product [F, P] uint16 or float32, terms float32 [4, P], limits float32 [F], factors float32 [4, F];
    rows int32 [F * P] and counts int64 [F] are written.
    """
    n_features, n_padded = product.shape
    flat, flat_terms, n = product.reshape(-1), terms.reshape(-1), 0
    for j in range(n_features):
        before = n
        column = (limits[j], factors[0, j], factors[1, j], factors[2, j], factors[3, j])
        for t in range(0, n_rows, MASK_LANES):
            bits = reaching(flat, j * n_padded + t, flat_terms, t, n_padded, column, u_out)
            if n_rows - t < MASK_LANES:
                bits &= (np.uint64(1) << np.uint64(n_rows - t)) - np.uint64(1)
            while bits:
                rows[n] = t + lowest_bit(bits)
                bits &= bits - np.uint64(1)
                n += 1
        counts[j] = n - before
    return n


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def rescore(x: Array, weights: Array, b_enc: Array, rows: Array, counts: Array, values: Array) -> None:
    """Compute h = x.w + b of hits: x [T, D], weights [F, D] float32, b_enc float64 [F] -> values float64 [nnz]."""
    d_in, flat_x, flat_w, n = x.shape[1], x.reshape(-1), weights.reshape(-1), 0
    for j in range(len(counts)):
        for _ in range(counts[j]):
            values[n] = dot(flat_x, flat_w, rows[n] * d_in, j * d_in, d_in) + b_enc[j]
            n += 1


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def rescore_rows(x: Array, weights: Array, b_enc: Array, indptr: Array, indices: Array, values: Array) -> None:
    """The same for candidates by row."""
    d_in, flat_x, flat_w = x.shape[1], x.reshape(-1), weights.reshape(-1)
    for t in range(len(indptr) - 1):
        for c in range(indptr[t], indptr[t + 1]):
            j = indices[c]
            values[c] = dot(flat_x, flat_w, t * d_in, j * d_in, d_in) + b_enc[j]


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _transpose(
    rows: Array, counts: Array, hit_values: Array, first: int, place: Array, indices: Array, values: Array
) -> None:
    n = 0
    for j in range(len(counts)):
        for _ in range(counts[j]):
            at = place[rows[n]]
            indices[at], values[at] = first + j, hit_values[n]
            place[rows[n]] = at + 1
            n += 1
