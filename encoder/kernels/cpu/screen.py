"""Scan a chunk of the product against the bound, compute the hits in float64, and put them into rows.

    product [F, P] of a chunk of features, fresh in the cache
        scan      a hit is a row that reaches feature j's limit; hits are ordered by feature, then by row
        rescore   h = x.w + b of each hit in float64; a feature's weights are loaded once for all its rows
        sift      instead of rescore after an int8 product, whose bound is wide: a float32 dot product of each hit drops
                  most of the wrong ones, the others are rescored
    all chunks' hits
        transpose by feature -> by row, columns ascending: the candidates' CSR

Each step is one pass, compiled, without the GIL. Shapes: T rows, P = T padded to whole masks, F features, D = d_in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from encoder.arrays import F32, F64, I32, I64, AnyArray
from encoder.kernels.bound import ENLARGE, SAFE_PRODUCT, UNDERFLOW_FACTOR, gamma
from encoder.kernels.candidates import Candidates
from encoder.kernels.cpu.lanes import MASK_LANES, dot, dot_ahead, dot_float32, lowest_bit, reaching
from encoder.kernels.cpu.operand import FLOOR, Columns, Rows
from encoder.machine.compiled import compiled

DOUBT = 2.0**-40
"""Covers the float64 rounding of a limit and of the value that is compared with the limit."""


@dataclass(frozen=True, slots=True)
class Hits:
    """Candidates by feature: their rows [nnz], the number of each feature's candidates [F], their values h [nnz]."""

    rows: I32
    counts: I64
    values: F64


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


def confirm(
    x: F32,
    rows: Rows,
    columns: Columns,
    chunk: slice,
    weights: F32,
    b_enc: F64,
    limits: F64,
    floor_factors: F64,
    found: I32,
    counts: I64,
) -> Hits:
    """Return the chunk's hits that remain, with their float64 values. `scan` has written `found` and `counts`.

    x [T, D]; weights [F, D], b_enc, limits and floor_factors [F] are those of all features, and the chunk is a slice of
    them.
    """
    n_hits, values = len(found), np.empty(len(found))
    if columns.precision == "int8":
        floors = floor_factors[chunk], rows.terms[FLOOR]
        bounds = limits[chunk], *floors, rows.norms, columns.norms[chunk], gamma(x.shape[1])
        n_hits = sift(x, weights[chunk], b_enc[chunk], *bounds, found, counts, values)
    else:
        rescore(x, weights[chunk], b_enc[chunk], found, counts, values)
    return Hits(found[:n_hits].copy(), counts, values[:n_hits].copy())


def as_array(product: torch.Tensor) -> AnyArray:
    """Return a product as numpy array. A bfloat16 product comes as its bits, as numpy and numba know no bfloat16."""
    bits: AnyArray = (product.view(torch.uint16) if product.dtype == torch.bfloat16 else product).numpy()
    return bits


@compiled()
def scan(product: AnyArray, terms: F32, factors: F32, u_out: Any, n_rows: int, rows: I32, counts: I64) -> int:
    """Write down the rows that reach each feature's limit, feature by feature; return the number of these hits.

    product [F, P] int32, uint16 or float32; terms [K, P] and factors [F, K] are described in operand.py.
    rows [F * P] and counts [F] are written.
    """
    n_features, n_padded = product.shape
    flat, flat_terms, flat_factors, n_terms = (
        product.reshape(-1),
        terms.reshape(-1),
        factors.reshape(-1),
        terms.shape[0],
    )
    n = 0
    for j in range(n_features):
        before = n
        for t in range(0, n_rows, MASK_LANES):
            start = j * n_padded + t
            bits = reaching(flat, start, flat_terms, t, n_padded, flat_factors, j * n_terms, n_terms, u_out)
            if n_rows - t < MASK_LANES:
                bits &= (np.uint64(1) << np.uint64(n_rows - t)) - np.uint64(1)
            while bits:
                rows[n] = t + lowest_bit(bits)
                bits &= bits - np.uint64(1)
                n += 1
        counts[j] = n - before
    return n


@compiled()
def sift(
    x: F32,
    weights: F32,
    b_enc: F64,
    limits: F64,
    floor_factors: F64,
    floors: F32,
    row_norms: F64,
    norms: F64,
    growth: float,
    rows: I32,
    counts: I64,
    values: F64,
) -> int:
    """Drop, in place, the hits that a float32 dot product rules out, and rescore the others; return how many stay.

    Both happen in one loop, because a row and a feature that have just been read are in the first-level cache.
    x.w has to exceed limits [F] minus floor_factors [F] times the row's floor [P]. row_norms [T] and norms [F] are
    upper bounds; growth is gamma of the dot product.
    """
    d_in, flat_x, flat_w, n, kept = x.shape[1], x.reshape(-1), weights.reshape(-1), 0, 0
    for j in range(len(counts)):
        before = kept
        for _ in range(counts[j]):
            t = rows[n]
            n += 1
            product = row_norms[t] * norms[j]
            if product < SAFE_PRODUCT:
                error = growth * product + UNDERFLOW_FACTOR * (1 + row_norms[t] + norms[j])
                h = np.float64(dot_float32(flat_x, flat_w, t * d_in, j * d_in, d_in))
                rise = floor_factors[j] * np.float64(floors[t])
                if h + error * ENLARGE < limits[j] - rise - (abs(limits[j]) + abs(rise)) * DOUBT:
                    continue
            rows[kept] = t
            values[kept] = dot(flat_x, flat_w, t * d_in, j * d_in, d_in) + b_enc[j]
            kept += 1
        counts[j] = kept - before
    return kept


@compiled()
def rescore(x: F32, weights: F32, b_enc: F64, rows: I32, counts: I64, values: F64) -> None:
    """Compute h = x.w + b of the hits: x [T, D], weights [F, D], b_enc [F] -> values [nnz]."""
    d_in, flat_x, flat_w, n = x.shape[1], x.reshape(-1), weights.reshape(-1), 0
    last_hit, last_feature = len(values) - 1, len(counts) - 1
    for j in range(len(counts)):
        for left in range(counts[j] - 1, -1, -1):
            x_next, w_next = rows[min(n + 1, last_hit)] * d_in, (j if left else min(j + 1, last_feature)) * d_in
            values[n] = dot_ahead(flat_x, flat_w, rows[n] * d_in, j * d_in, d_in, x_next, w_next) + b_enc[j]
            n += 1


@compiled()
def _transpose(rows: I32, counts: I64, hit_values: F64, first: int, place: I64, indices: I32, values: F64) -> None:
    n = 0
    for j in range(len(counts)):
        for _ in range(counts[j]):
            at = place[rows[n]]
            indices[at], values[at] = first + j, hit_values[n]
            place[rows[n]] = at + 1
            n += 1
