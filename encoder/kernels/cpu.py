"""The CPU path: a float32 product screens, float64 decides.

    for each tile of rows:  p = x W_enc (oneDNN, float32)  ->  scan against the bound  ->  candidates
                            candidates -> float64 dot products -> the rule -> CSR

The dense product never outgrows one tile. A dot product is summed in one fixed order that depends on neither the tile,
the batch nor the number of threads, so the same rows always give the same bytes.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numba
import numpy as np
import torch

from encoder.csr import Csr
from encoder.kernels.bound import SAFE_PRODUCT, UNDERFLOW, column_norms, gamma, row_norms
from encoder.kernels.kernel import Kernel
from encoder.sae import LoadedSae

TILE_ELEMENTS = 1 << 23
"""Elements of one tile of the product: 32 MB, of which a scan reads every byte once."""

Array = np.ndarray[Any, Any]


class CpuKernel(Kernel):
    """Exact features on the CPU. Shapes: T rows, D = d_in, F = d_sae."""

    name = "cpu"
    device = torch.device("cpu")

    def __init__(self, sae: LoadedSae) -> None:
        if sae.rule is None:
            raise ValueError("no exact rule for this SAE")
        self._sae, self._rule = sae, sae.rule
        self._W_enc = sae.rule.W_enc.contiguous()
        self._rows_of_W: Array = np.ascontiguousarray(self._W_enc.numpy().T)  # [F, D]: a feature's weights lie together
        self._slack: Array = (column_norms(self._W_enc) * gamma(sae.d_in)).numpy()
        self._largest_norm = float(column_norms(self._W_enc).max()) if sae.d_sae else 0.0
        self._b_enc: Array = sae.rule.b_enc.double().numpy()
        self._threshold: Array = sae.rule.threshold.double().numpy()
        self._tile = max(1, TILE_ELEMENTS // max(1, sae.d_sae))

    def encode(self, x: torch.Tensor) -> Csr:
        return self.encode_prepared(self._sae.prepare(x))

    def encode_prepared(self, x: torch.Tensor) -> Csr:
        """Encode x [T, D] float32, which has been through the SAE's preprocessing."""
        x = x.contiguous()
        parts = [self._tile_csr(x[start : start + self._tile]) for start in range(0, len(x), self._tile)]
        return Csr.concatenate(parts, self._sae.d_sae)

    def decide(self, x: torch.Tensor, indptr: Array, indices: Array) -> Csr:
        """Compute the candidates' values in float64 and keep those that the rule keeps."""
        values = np.empty(len(indices), np.float64)
        _rescore(np.ascontiguousarray(x.numpy()), self._rows_of_W, self._b_enc, indptr, indices, values)
        if self._rule.k is None:
            keep = values > self._threshold[indices]
        else:
            if self._rule.scale is not None:
                values *= self._rule.scale.double().numpy()[indices]
            keep = top_k(indptr, values, self._rule.k)
        return Csr.of_kept(indptr, indices, values, keep, self._sae.d_sae)

    def _tile_csr(self, x: torch.Tensor) -> Csr:
        product, norms = torch.mm(x, self._W_enc), row_norms(x)
        product[norms * self._largest_norm > SAFE_PRODUCT] = torch.inf  # may have overflowed: everything is a candidate
        if self._rule.k is not None:
            return self.decide(x, *self._top_candidates(product, norms))
        limit = self._threshold - self._b_enc - UNDERFLOW * max(1, x.shape[1])
        scan = product.numpy(), norms.numpy(), self._slack, limit
        indptr = np.zeros(len(x) + 1, np.int64)
        _count(*scan, indptr[1:])
        np.cumsum(indptr, out=indptr)
        indices = np.empty(indptr[-1], np.int32)
        _collect(*scan, indptr, indices)
        return self.decide(x, indptr, indices)

    def _top_candidates(self, product: torch.Tensor, norms: torch.Tensor) -> tuple[Array, Array]:
        """Return the features that may be among the k largest: those whose upper bound reaches the k-th lower bound."""
        k = min(self._rule.k or 0, self._sae.d_sae)
        h = product.double() + self._rule.b_enc.double()
        error = norms[:, None] * torch.from_numpy(self._slack) + UNDERFLOW * max(1, self._sae.d_in)
        if self._rule.scale is not None:
            scale = self._rule.scale.double()
            h, error = h * scale, error * scale
        error += h.abs() * 2.0**-50  # the float64 arithmetic of the lines above
        unbounded = torch.isinf(h)
        lower = torch.where(unbounded, -torch.inf, h - error)
        least = lower.topk(k, dim=1).values[:, -1:] if k else torch.full((len(h), 1), torch.inf)
        candidates = (unbounded | (h + error >= least)) & (h + error > 0)
        indptr = np.zeros(len(h) + 1, np.int64)
        np.cumsum(candidates.sum(dim=1).numpy(), out=indptr[1:])
        return indptr, candidates.nonzero()[:, 1].to(torch.int32).numpy()


def top_k(indptr: Array, values: Array, k: int) -> Array:
    """Mark in each row the k largest values that are positive; of equal ones those that come first."""
    keep = np.zeros(len(values), np.bool_)
    for start, stop in pairwise(indptr):
        order = np.argsort(-values[start:stop], kind="stable")[:k]
        keep[start + order] = values[start + order] > 0
    return keep


# numba has no types that mypy knows.
@numba.njit(parallel=True, cache=True, nogil=True)
def _count(product: Array, norms: Array, slack: Array, limit: Array, counts: Array) -> None:
    """Count each row's candidates: features that the bound cannot rule out."""
    for t in numba.prange(product.shape[0]):
        n = 0
        for j in range(product.shape[1]):
            n += product[t, j] + norms[t] * slack[j] > limit[j]
        counts[t] = n


@numba.njit(parallel=True, cache=True, nogil=True)
def _collect(product: Array, norms: Array, slack: Array, limit: Array, indptr: Array, indices: Array) -> None:
    """Write down each row's candidates, ascending."""
    for t in numba.prange(product.shape[0]):
        place = indptr[t]
        for j in range(product.shape[1]):
            if product[t, j] + norms[t] * slack[j] > limit[j]:
                indices[place] = j
                place += 1


@numba.njit(parallel=True, cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _rescore(x: Array, rows_of_W: Array, b_enc: Array, indptr: Array, indices: Array, values: Array) -> None:
    """Compute h = x.w + b of each candidate in float64, where products of two float32 are exact: only the sum rounds.

    `reassoc` lets the compiler use vector lanes; which, is fixed when it compiles, not by the data.
    """
    for t in numba.prange(x.shape[0]):
        for c in range(indptr[t], indptr[t + 1]):
            j = indices[c]
            h = 0.0
            for i in range(x.shape[1]):
                h += np.float64(x[t, i]) * np.float64(rows_of_W[j, i])
            values[c] = h + b_enc[j]
