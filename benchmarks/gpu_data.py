"""The SAE and the rows of `benchmarks.gpu`: made up, at the size of the default SAE, or tiny."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from encoder.sae.sae import LoadedSae


@dataclass(frozen=True, slots=True)
class Size:
    """T tokens of a tile, D = d_in, F = d_sae; `peak` is the edge of the product that measures the card's peak."""

    T: int
    D: int
    F: int
    k: int
    check_tokens: int
    peak: int


FULL = Size(T=4096, D=2304, F=16_384, k=64, check_tokens=6200, peak=8192)
SMOKE = Size(T=8, D=32, F=96, k=3, check_tokens=8, peak=64)


def make_sae(size: Size, k: int | None) -> LoadedSae:
    """Make a random SAE with an L0 of about 100 at full size, through SAELens, so that `encode` can be compared."""
    from sae_lens.saes.jumprelu_sae import JumpReLUSAE, JumpReLUSAEConfig

    from encoder.sae.rules import Rule
    from encoder.sae.sae import LoadedSae

    made = torch.Generator().manual_seed(0)
    with contextlib.redirect_stdout(io.StringIO()):
        config = JumpReLUSAEConfig(d_in=size.D, d_sae=size.F, dtype="float32", device="cpu")
        module = JumpReLUSAE(config)
    module.W_enc.data = torch.randn(size.D, size.F, generator=made) / size.D**0.5
    module.b_enc.data = torch.randn(size.F, generator=made) * 0.1
    module.threshold.data = torch.full((size.F,), 2.5)
    threshold = module.threshold.data if k is None else torch.zeros(size.F)
    return LoadedSae(module, Rule(module.W_enc.data, module.b_enc.data, threshold, None, k), {})


def make_rows(size: Size, n: int, dtype: torch.dtype, seed: int) -> torch.Tensor:
    """Make rows with one massive dimension, as Gemma's are."""
    x = torch.randn(n, size.D, generator=torch.Generator().manual_seed(seed))
    x[:, 7 % size.D] *= 30
    return x.to(dtype)
