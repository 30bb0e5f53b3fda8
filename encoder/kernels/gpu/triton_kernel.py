"""The GPU path in Triton: a float16 tensor-core product screens, float64 decides, only CSR comes back.

    x [T, D] f32 --scale_rows--> xs f16 --screen (W f16 resident)--> mask, one bit a pair
    mask --bounds, expand--> candidates, by rows --rescore (W f32 resident), f64--> rule --assemble--> CSR

The device holds W twice: [F, D] float32 and float16, 226 MB at 2,304 -> 16,384. The host waits once a tile for the
number of candidates, and once for the number of features.
"""

from __future__ import annotations

import torch

from encoder.kernels.gpu.assemble import assemble
from encoder.kernels.gpu.device_rule import DeviceRule
from encoder.kernels.gpu.tensor_core_bound import columns_of
from encoder.kernels.gpu.tiled import TiledKernel
from encoder.kernels.gpu.transfer import DeviceCsr
from encoder.kernels.gpu.triton_candidates import bounds, expand
from encoder.kernels.gpu.triton_rescore import rescore
from encoder.kernels.gpu.triton_rows import scale_rows
from encoder.kernels.gpu.triton_screen import Blocks, blocks_for, screen
from encoder.sae.sae import LoadedSae

TILE_TOKENS = 4096
"""Rows of a tile: 19 MB of float16 at D = 2,304 stay in a 50 MB cache for `rescore`; `screen` has 2,048 programs."""


class TritonKernel(TiledKernel):
    """Exact features on an NVIDIA GPU, or in Triton's interpreter on the CPU. Shapes: T rows, D = d_in, F = d_sae.

    On the device: `columns` for the screen, `weights` for rescore (W's rows [F, D] and b_enc [F], float32).
    """

    name = "triton"

    def __init__(
        self, sae: LoadedSae, device: torch.device, *, tile_tokens: int = TILE_TOKENS, blocks: Blocks | None = None
    ) -> None:
        if sae.rule is None:
            raise ValueError("no exact rule for this SAE")
        super().__init__(sae, device, tile_tokens)
        rule, self.blocks = sae.rule, blocks or blocks_for(device, sae.d_in)
        self.k = None if rule.k is None else min(rule.k, sae.d_sae)
        self.columns = columns_of(rule).to(device)
        self.weights = rule.W_enc.T.contiguous().to(device), rule.b_enc.to(device)
        self._rule = DeviceRule(rule, device)

    def candidates(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return indptr [T + 1] int64, rows [n], columns [n] int32 and float64 values x.w + b [n] of the candidates."""
        blocks = self.blocks
        scaled = scale_rows(x, blocks.rows)
        mask = screen(scaled, self.columns, blocks, k=self.k)
        indptr = bounds(mask, blocks.rows)
        n, is_exact = torch.stack([indptr[-1], scaled.exact.all().to(torch.int64)]).tolist()
        rows, columns = expand(mask, indptr, n, blocks.rows)
        seen, scale = (scaled.x, scaled.scale) if is_exact else (x, None)
        values = rescore(seen, scale, *self.weights, rows, columns, blocks.pairs)
        return indptr, rows, columns, values

    def encode_tile(self, x: torch.Tensor) -> DeviceCsr:
        indptr, rows, columns, h = self.candidates(x)
        values, keep = self._rule.decide(x, indptr, rows, columns, h)
        return assemble(indptr, columns, values, keep)
