"""The GPU path, through torch: screen in float32 on the device, decide in float64, copy back just the sparse part.

The same bound and the same rule as on the CPU. Where the device has no float64 (mps) the candidates are decided on the
CPU. TF32 is off for the product: the bound is float32's.
"""

from __future__ import annotations

import numpy as np
import torch

from encoder.csr import Csr
from encoder.kernels.bound import SAFE_PRODUCT, UNDERFLOW, column_norms, gamma
from encoder.kernels.cpu import CpuKernel
from encoder.kernels.kernel import Kernel
from encoder.sae import LoadedSae

TILE_ELEMENTS = 1 << 28
"""Elements of one tile of the product: 1 GB."""
PAIRS = 1 << 14
"""Candidates decided at a time: 16,384 of 2,304 inputs are 300 MB in float64."""


class DeviceKernel(Kernel):
    """Exact features on a CUDA or MPS device. Shapes: T rows, D = d_in, F = d_sae."""

    def __init__(self, sae: LoadedSae, device: torch.device) -> None:
        if sae.rule is None:
            raise ValueError("no exact rule for this SAE")
        self.device, self.name = device, f"torch-{device.type}"
        self._sae, self._rule = sae, sae.rule
        self._has_float64 = device.type != "mps"
        self._cpu = None if self._has_float64 and sae.rule.k is None else CpuKernel(sae)
        norms = column_norms(sae.rule.W_enc)
        self._largest_norm = float(norms.max()) if sae.d_sae else 0.0
        limit = sae.rule.threshold.double() - sae.rule.b_enc.double() - UNDERFLOW * max(1, sae.d_in)
        # Rounded so that float32 arithmetic on the device can only let more through: 2^-20 is 16 units of the last one.
        self._limit = (limit - limit.abs() * 2.0**-20).float().to(device)
        self._slack = (norms * gamma(sae.d_in) * (1 + 2.0**-20)).float().to(device)
        self._W_enc = sae.rule.W_enc.to(device)
        self._rows_of_W = sae.rule.W_enc.T.contiguous().to(device)
        self._b_enc = sae.rule.b_enc.to(device)
        self._threshold = sae.rule.threshold.to(device)
        self._tile = max(1, TILE_ELEMENTS // max(1, sae.d_sae))
        sae.module.to(device)

    def encode(self, x: torch.Tensor) -> Csr:
        """Encode; when the device's memory does not hold a tile, halve the tiles and go on."""
        if self.device.type == "cuda":
            x = x.pin_memory()
        on_device = x.to(self.device, non_blocking=True)
        prepared = self._sae.prepare(on_device)
        if self._rule.k is not None and self._cpu is not None:
            return self._cpu.encode_prepared(prepared.cpu())
        parts, start = [], 0
        while start < len(prepared):
            try:
                parts.append(self._tile_csr(prepared[start : start + self._tile]))
            except torch.OutOfMemoryError:
                if self._tile == 1:
                    raise
                self._tile //= 2
                torch.cuda.empty_cache()
            else:
                start += self._tile
        return Csr.concatenate(parts, self._sae.d_sae)

    def _tile_csr(self, x: torch.Tensor) -> Csr:
        wide = x if self._has_float64 else x.cpu()
        norms = (wide.double().norm(dim=1) * (1 + 2.0**-20)).float().to(self.device)
        product = torch.mm(x, self._W_enc)
        product[norms * self._largest_norm > SAFE_PRODUCT] = torch.inf
        pairs = (product > self._limit - norms[:, None] * self._slack).nonzero()  # in the order of rows, then columns
        del product
        t, j = pairs[:, 0], pairs[:, 1]
        indptr = np.zeros(len(x) + 1, np.int64)
        np.cumsum(torch.bincount(t, minlength=len(x)).cpu().numpy(), out=indptr[1:])
        if self._cpu is not None:
            return self._cpu.decide(x.cpu(), indptr, j.to(torch.int32).cpu().numpy())
        values = torch.empty(len(t), dtype=torch.float64, device=self.device)
        for start in range(0, len(t), PAIRS):
            some = slice(start, start + PAIRS)
            dots = (x[t[some]].double() * self._rows_of_W[j[some]].double()).sum(dim=1)
            values[some] = dots + self._b_enc[j[some]].double()
        keep = values > self._threshold[j].double()
        return Csr.of_kept(
            indptr, j.to(torch.int32).cpu().numpy(), values.cpu().numpy(), keep.cpu().numpy(), self._sae.d_sae
        )
