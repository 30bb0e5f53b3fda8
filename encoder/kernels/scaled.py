"""Values in another scale than the SAE's own: see encoder.sae.scale."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from encoder.arrays import F64
from encoder.file.csr import Csr
from encoder.kernels.kernel import Choice, Kernel


class ScaledKernel(Kernel):
    """A kernel whose values are multiplied by a number for each feature; which features are active stays the same."""

    def __init__(self, kernel: Kernel, scale: F64) -> None:
        self._kernel, self._scale = kernel, scale
        self.name, self.device = kernel.name, kernel.device
        self.reason = kernel.reason

    @property
    def notes(self) -> tuple[str, ...]:  # type: ignore[override]
        return self._kernel.notes

    @property
    def choice(self) -> Choice | None:  # type: ignore[override]
        return self._kernel.choice

    def encode(self, x: torch.Tensor) -> Csr:
        return self._scaled(self._kernel.encode(x))

    def stage(self, x: torch.Tensor) -> Callable[[], Csr]:
        encode = self._kernel.stage(x)
        return lambda: self._scaled(encode())

    def _scaled(self, features: Csr) -> Csr:
        values = features.data * self._scale[features.indices]
        kept = np.ones(len(values), np.bool_)
        return Csr.of_kept(features.indptr, features.indices, values, kept, features.shape[1])
