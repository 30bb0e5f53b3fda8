"""The truth in tests: plain torch in float64, as short as it can be; exact where float64 cannot tell."""

from __future__ import annotations

import numpy as np
import torch

from encoder.csr import Csr
from encoder.kernels.cpu import decider_of
from encoder.kernels.exact import unit
from encoder.kernels.kernel import Kernel
from encoder.kernels.screen import Candidates
from encoder.sae import LoadedSae


class ReferenceKernel(Kernel):
    """Exact features the slow way: dense, in float64, on the CPU."""

    name = "reference"
    device = torch.device("cpu")

    def __init__(self, sae: LoadedSae) -> None:
        if sae.rule is None:
            raise ValueError("no exact rule for this SAE")
        self._sae, self._rule = sae, sae.rule
        self._decider = decider_of(sae.rule, sae.rule.W_enc.T.contiguous())

    def encode(self, x: torch.Tensor) -> Csr:
        rule, prepared = self._rule, self._sae.prepare(x)
        h = prepared.double() @ rule.W_enc.double() + rule.b_enc.double()
        norms = prepared.double().norm(dim=1) * (1 + 2.0**-40)
        error = unit(self._sae.d_in) * (
            norms[:, None] * torch.from_numpy(self._decider.norms) + rule.b_enc.double().abs()
        )
        near = h >= rule.threshold.double() - error
        indptr = np.zeros(len(h) + 1, np.int64)
        np.cumsum(near.sum(dim=1).numpy(), out=indptr[1:])
        candidates = Candidates(indptr, near.nonzero()[:, 1].to(torch.int32).numpy(), h[near].numpy())
        return self._decider.decide(prepared.numpy(), norms.numpy(), candidates)
