"""The truth in tests: plain torch in float64, as short as it can be.

Where a pre-activation is nearer to its threshold than float64's own rounding, this says what float64 says; the other
kernels decide in exact arithmetic.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

from encoder.arrays import F64, I64, Bool
from encoder.file.csr import Csr
from encoder.kernels.kernel import Kernel
from encoder.sae.sae import LoadedSae


class ReferenceKernel(Kernel):
    """Exact features the slow way: dense, in float64, on the CPU."""

    name = "reference"
    device = torch.device("cpu")

    def __init__(self, sae: LoadedSae) -> None:
        if sae.rule is None:
            raise ValueError("no exact rule for this SAE")
        self._sae, self._rule = sae, sae.rule

    def encode(self, x: torch.Tensor) -> Csr:
        rule = self._rule
        h = self._sae.prepare(x).double() @ rule.W_enc.double() + rule.b_enc.double()
        if rule.scale is not None:
            h = h * rule.scale.double()
        active = h > rule.threshold.double()
        indptr = np.zeros(len(h) + 1, np.int64)
        np.cumsum(active.sum(dim=1).numpy(), out=indptr[1:])
        indices, values = active.nonzero()[:, 1].to(torch.int32).numpy(), h[active].numpy()
        keep = np.ones(len(values), np.bool_) if rule.k is None else top_k(indptr, values, rule.k)
        return Csr.of_kept(indptr, indices, values, keep, self._sae.d_sae)


def top_k(indptr: I64, values: F64, k: int) -> Bool:
    """Mark in each row the k largest values that are positive; of equal ones those that come first."""
    keep = np.zeros(len(values), np.bool_)
    for start, stop in pairwise(indptr):
        order = np.argsort(-values[start:stop], kind="stable")[:k]
        keep[start + order] = values[start + order] > 0
    return keep
