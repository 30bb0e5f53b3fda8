"""`sae.encode` in float32 for architectures without an exact rule: gated, temporal, matching pursuit and others."""

from __future__ import annotations

import numpy as np
import torch

from encoder.csr import Csr
from encoder.kernels.kernel import Kernel
from encoder.sae import LoadedSae


class FallbackKernel(Kernel):
    """Whatever SAELens computes, made sparse. Not exact: its float32 sums may differ with the batch size."""

    name = "sae.encode"

    def __init__(self, sae: LoadedSae, device: torch.device) -> None:
        self._sae, self.device = sae, device
        sae.module.to(device)

    def encode(self, x: torch.Tensor) -> Csr:
        hook_z = self._sae.module.cfg.reshape_activations == "hook_z"
        with torch.no_grad():
            features = self._sae.module.encode((x.unsqueeze(-2) if hook_z else x).to(self.device)).float()
        active = features != 0
        indptr = np.zeros(len(features) + 1, np.int64)
        np.cumsum(active.sum(dim=1).cpu().numpy(), out=indptr[1:])
        indices = active.nonzero()[:, 1].to(torch.int32).cpu().numpy()
        values = features[active].double().cpu().numpy()
        return Csr.of_kept(indptr, indices, values, np.ones(len(values), np.bool_), self._sae.d_sae)
