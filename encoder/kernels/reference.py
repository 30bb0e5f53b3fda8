"""The truth in the tests: plain torch in float64, as short as it can be.

This kernel compares the float64 value with the threshold, even if the two are nearer to each other than the rounding of
float64. The other kernels decide such cases in exact arithmetic.
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
    """Features in float64 through a dense product on the CPU."""

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
    """Mark the positive ones among each row's k largest values; of equal values the first ones count as larger."""
    keep = np.zeros(len(values), np.bool_)
    for start, stop in pairwise(indptr):
        order = np.argsort(-values[start:stop], kind="stable")[:k]
        keep[start + order] = values[start + order] > 0
    return keep
