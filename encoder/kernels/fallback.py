"""`sae.encode`, for the architectures without an exact rule: gated, abstopk, matching pursuit and others."""

from __future__ import annotations

from copy import copy, deepcopy
from typing import Any

import numpy as np
import torch

from encoder.file.csr import Csr
from encoder.kernels.kernel import Kernel
from encoder.sae.plain import Plain
from encoder.sae.sae import LoadedSae

TILE_ELEMENTS = 1 << 24
"""Elements of one dense tile of features: 128 MB in float64."""


class FallbackKernel(Kernel):
    """SAELens' `encode`, its output made sparse. It computes in float64, or in float32 on mps, which has no
    float64.

    torch may add up in another order for another number of rows. Values are rounded to float32 at the end, so such a
    difference in the last bits of a float64 hardly ever shows.
    """

    name = "sae.encode"

    def __init__(self, sae: LoadedSae, device: torch.device) -> None:
        self._sae, self.device = sae, device
        dtype = torch.float32 if device.type == "mps" else torch.float64
        own = copy(sae.source) if isinstance(sae.source, Plain) else deepcopy(sae.source)
        self._source: Any = own.to(device=device, dtype=dtype)
        self._tile = max(1, TILE_ELEMENTS // max(1, sae.d_sae))

    @torch.no_grad()
    def encode(self, x: torch.Tensor) -> Csr:
        parts = [self._tile_csr(x[start : start + self._tile]) for start in range(0, len(x), self._tile)]
        return Csr.concatenate(parts, self._sae.d_sae)

    def _tile_csr(self, x: torch.Tensor) -> Csr:
        features = self._source.encode(self._sae.flat(x.to(self.device)))
        active = features != 0
        indptr = np.zeros(len(features) + 1, np.int64)
        np.cumsum(active.sum(dim=1).cpu().numpy(), out=indptr[1:])
        indices = active.nonzero()[:, 1].to(torch.int32).cpu().numpy()
        values = features[active].double().cpu().numpy()
        return Csr.of_kept(indptr, indices, values, np.ones(len(values), np.bool_), self._sae.d_sae)
