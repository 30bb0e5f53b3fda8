"""The GPU kernel without Triton, through torch: a float32 product screens the features, float64 decides.

The bound and the rule are those of the CPU's float32 screen. On mps, which has no float64, the candidates are decided
on the CPU. The dense product of a tile is written to the device's memory, which the Triton kernel avoids.
"""

from __future__ import annotations

import torch
from torch.nn.functional import pad

from encoder.kernels.bound import SAFE_PRODUCT, UNDERFLOW, gamma
from encoder.kernels.gpu.assemble import assemble
from encoder.kernels.gpu.device_rule import DeviceRule
from encoder.kernels.gpu.tiled import TiledKernel
from encoder.kernels.gpu.transfer import DeviceCsr
from encoder.sae.sae import LoadedSae

TILE_ELEMENTS = 1 << 26
"""Elements of one tile of the product: 256 MB, and for TopK a few times that in float64."""
PAIRS = 1 << 12
"""Candidates computed at a time. The number is always the same, because the order of a sum may depend on the shape, and
the results must not."""


class TorchKernel(TiledKernel):
    """Exact features on a CUDA or MPS device; on the CPU too, in tests. Shapes: T rows, D = d_in, F = d_sae."""

    def __init__(self, sae: LoadedSae, device: torch.device, *, tile_tokens: int | None = None) -> None:
        if sae.rule is None:
            raise ValueError("no exact rule for this SAE")
        super().__init__(sae, device, tile_tokens or max(1, TILE_ELEMENTS // max(1, sae.d_sae)))
        self.name, rule = f"torch-{device.type}", sae.rule
        torch.set_float32_matmul_precision("highest")  # no TF32: the bound is float32's
        self._wide = torch.device("cpu") if device.type == "mps" else device  # where float64 is
        self._rule = DeviceRule(rule, self._wide)
        norms = self._rule.norms
        self._k = None if rule.k is None else min(rule.k, sae.d_sae)
        self._largest_norm = float(norms.max()) if sae.d_sae else 0.0
        limit = rule.threshold.double() - rule.b_enc.double()
        # The limit is lowered by 16 units in the last place, so that float32 arithmetic can only let more through.
        self._limit = (limit - limit.abs() * 2.0**-20).float().to(device)
        self._slack = (norms * gamma(sae.d_in) * (1 + 2.0**-20)).float().to(device)
        self._W_enc = rule.W_enc.to(device)
        self._rows_of_W = rule.W_enc.T.contiguous().to(self._wide)

    def encode_tile(self, x: torch.Tensor) -> DeviceCsr:
        wide = x.to(self._wide)
        norms = torch.linalg.vector_norm(wide.double(), dim=1) * (1 + 2.0**-20)
        underflow = (norms > 0) * UNDERFLOW * max(1, self.sae.d_in)  # a row of zeros has none, and no slack
        product = torch.mm(x, self._W_enc)
        unsafe = norms * self._largest_norm > SAFE_PRODUCT  # may have overflowed: everything is a candidate
        product[unsafe.to(self.device)] = torch.inf
        if self._k is None:
            slack = norms[:, None].float().to(self.device) * self._slack + underflow[:, None].float().to(self.device)
            is_candidate = ~(product <= self._limit - slack)
        else:
            is_candidate = self._may_be_top(product.to(self._wide).double(), norms, underflow)
        del product
        pairs = is_candidate.nonzero().to(self._wide)  # in the order of rows, then columns
        del is_candidate
        rows, columns = pairs[:, 0], pairs[:, 1]
        indptr = torch.zeros(len(x) + 1, dtype=torch.int64, device=self._wide)
        torch.cumsum(torch.bincount(rows, minlength=len(x)), 0, out=indptr[1:])
        values, keep = self._rule.decide(wide, indptr, rows, columns, self._h(wide, rows, columns))
        return assemble(indptr, columns.to(torch.int32), values, keep)

    def _may_be_top(self, product: torch.Tensor, norms: torch.Tensor, underflow: torch.Tensor) -> torch.Tensor:
        """Mark the features whose upper bound reaches the k-th largest lower bound: product [T, F] f64 -> bool."""
        h = (product + self._rule.b_enc) * self._rule.scale
        error = (norms[:, None] * self._slack.to(self._wide).double() + underflow[:, None]) * self._rule.scale
        error += h.abs() * 2.0**-50  # the float64 arithmetic of the lines above
        upper, lower = h + error, torch.where(torch.isfinite(h), h - error, -torch.inf)
        least = lower.topk(self._k or 0, dim=1).values[:, -1:]
        return ~(upper < least) & ~(upper <= 0)

    def _h(self, x: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """Compute each pair's pre-activation: x [T, D], rows and columns int64 [n] -> float64 [n]."""
        n = len(rows)
        values = torch.empty(-(-n // PAIRS) * PAIRS, dtype=torch.float64, device=self._wide)
        for start in range(0, n, PAIRS):
            missing = max(0, start + PAIRS - n)
            t, j = (pad(ids[start : start + PAIRS], (0, missing)) for ids in (rows, columns))
            values[start : start + PAIRS] = (x[t].double() * self._rows_of_W[j].double()).sum(dim=1)
        return values[:n] + self._rule.b_enc[columns]
