"""The GPU path in Triton: a tensor-core product screens, in float16 or int8, float64 decides, only CSR comes back.

    x [T, D] f32 --scale_rows--> xs f16 --screen (W f16 resident)--> mask, one bit a pair
                 --quantize_rows--> xq i8 --screen (W i8 resident)--> the same, where a trial finds this faster
    mask --bounds, expand--> candidates, by rows --rescore (W f32 resident), f64--> rule --assemble--> CSR

The device holds W twice: [F, D] float32 and float16, 226 MB at 2,304 -> 16,384, and 38 MB more while or where int8 is
used. The host waits once a tile for the number of candidates, and once for the number of features. No bytes depend on
the precision of the screen.
"""

from __future__ import annotations

import threading
from functools import partial

import torch

from encoder.kernels.gpu.assemble import assemble
from encoder.kernels.gpu.device_rule import DeviceRule
from encoder.kernels.gpu.tensor_core_bound import Columns, columns_of, int8_columns_of
from encoder.kernels.gpu.tiled import TiledKernel
from encoder.kernels.gpu.transfer import DeviceCsr
from encoder.kernels.gpu.triton_candidates import bounds, expand
from encoder.kernels.gpu.triton_choice import MIN_ROWS, choose_by_trial, choose_screen
from encoder.kernels.gpu.triton_rescore import rescore
from encoder.kernels.gpu.triton_rows import quantize_rows, scale_rows
from encoder.kernels.gpu.triton_screen import Blocks, blocks_for, for_int8, screen
from encoder.kernels.kernel import Choice
from encoder.kernels.massive import FIRST_ROWS, find_massive
from encoder.sae.rules import Rule
from encoder.sae.sae import LoadedSae

TILE_TOKENS = 4096
"""Rows of a tile: 19 MB of float16 at D = 2,304 stay in a 50 MB cache for `rescore`; `screen` has 2,048 programs."""


class TritonKernel(TiledKernel):
    """Exact features on an NVIDIA GPU, or in Triton's interpreter on the CPU. Shapes: T rows, D = d_in, F = d_sae.

    On the device: `columns` for the screen, `weights` for rescore (W's rows [F, D] and b_enc [F], float32).
    """

    name = "triton"
    choice: Choice

    def __init__(
        self,
        sae: LoadedSae,
        device: torch.device,
        *,
        tile_tokens: int = TILE_TOKENS,
        blocks: Blocks | None = None,
        screen: str | None = None,
    ) -> None:
        if sae.rule is None:
            raise ValueError("no exact rule for this SAE")
        super().__init__(sae, device, tile_tokens)
        rule, self.blocks = sae.rule, blocks or blocks_for(device, sae.d_in)
        self.choice = choose_screen(screen, rule, device)
        self.k = None if rule.k is None else min(rule.k, sae.d_sae)
        self.columns = columns_of(rule).to(device)
        self.weights = rule.W_enc.T.contiguous().to(device), rule.b_enc.to(device)
        self._int8: Columns | None = None
        self._sae_rule: Rule = rule
        self._rule, self._lock = DeviceRule(rule, device), threading.Lock()

    def candidates(
        self, x: torch.Tensor, columns: Columns | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return indptr [T + 1] int64, rows [n], columns [n] int32 and float64 values x.w + b [n] of the candidates.

        `columns` are the screen's; without them they are the chosen precision's.
        """
        blocks = self.blocks
        chosen = self._columns_for(x) if columns is None else columns
        scaled = scale_rows(x, blocks.rows)
        if chosen.W.dtype == torch.int8:
            mask = screen(quantize_rows(x, chosen, blocks.rows), chosen, for_int8(blocks), k=self.k)
        else:
            mask = screen(scaled, chosen, blocks, k=self.k)
        indptr = bounds(mask, blocks.rows)
        n, is_exact = torch.stack([indptr[-1], scaled.exact.all().to(torch.int64)]).tolist()
        rows, features = expand(mask, indptr, n, blocks.rows)
        seen, scale = (scaled.x, scaled.scale) if is_exact else (x, None)
        values = rescore(seen, scale, *self.weights, rows, features, blocks.pairs)
        return indptr, rows, features, values

    def _columns_for(self, x: torch.Tensor) -> Columns:
        """Return the features' operand. The first MIN_ROWS rows at once decide which, where that is open."""
        with self._lock:
            if self.choice.contenders and len(x) >= MIN_ROWS:
                trial = {"int8": self.int8_columns(x), "fp16": self.columns}
                passes = {name: partial(self.candidates, x, operand) for name, operand in trial.items()}
                self.choice = choose_by_trial(passes, self.device)
                self.notes += (f"screen in {self.choice.precision}, {self.choice.reason}",)
                if self.choice.precision != "int8":
                    self._int8 = None
            return self.int8_columns(x) if self.choice.precision == "int8" else self.columns

    def int8_columns(self, x: torch.Tensor) -> Columns:
        """Return the int8 operand, which is made when the first rows say which inputs are massive."""
        if self._int8 is None:
            massive = torch.from_numpy(find_massive(x[:FIRST_ROWS]))
            columns = int8_columns_of(self._sae_rule, massive).to(self.device)
            if len(x) == 0:
                return columns
            self._int8 = columns
        return self._int8

    def encode_tile(self, x: torch.Tensor) -> DeviceCsr:
        indptr, rows, columns, h = self.candidates(x)
        values, keep = self._rule.decide(x, indptr, rows, columns, h)
        return assemble(indptr, columns, values, keep)
