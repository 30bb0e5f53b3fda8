"""SAEs and activations for the kernel's benchmarks: made up, reproducible, of any width and L0.

A row is a sum of `N_ACTIVE` decoder directions drawn at random, a low-rank part that all rows share, a mean, and noise;
the encoder reads along the decoder's directions. So what fires stands out from cross-talk, as in a trained SAE, and the
thresholds, 2 apart, lie where `l0` features fire on a token. Shapes: T rows, D = d_in, F = d_sae.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass

import torch
from sae_lens.saes.jumprelu_sae import JumpReLUSAE, JumpReLUSAEConfig
from sae_lens.saes.topk_sae import TopKSAE, TopKSAEConfig

from encoder.sae.rules import rule_of
from encoder.sae.sae import LoadedSae

D = 2304
N_ACTIVE, WEAK, STRONG = 95, 10.0, 16.0
RANK, LOW_RANK_NORM, NOISE = 32, 30.0, 0.5
MASSIVE = {334: 1000.0, 1068: -200.0, 1570: 50.0}
"""Inputs that are as many times larger than the others, as in Gemma's residual stream; they vary by a twentieth."""
SINK_SHARE, SINK_SIZE = 0.05, 8.0
"""Attention sinks: this share of the rows is as many times larger, so that thousands of features fire on them."""
_CALIBRATION_ROWS = 64


@dataclass(frozen=True, slots=True)
class Weights:
    """W_enc [D, F], directions [F, D] (the same memory), b_enc [F], threshold [F], mean [D], shared [RANK, D]."""

    directions: torch.Tensor
    b_enc: torch.Tensor
    threshold: torch.Tensor
    mean: torch.Tensor
    shared: torch.Tensor

    @property
    def W_enc(self) -> torch.Tensor:
        return self.directions.T


def make_weights(d_sae: int, l0: float = 100.0) -> Weights:
    made = torch.Generator().manual_seed(0)
    directions = torch.randn(d_sae, D, generator=made)
    directions /= directions.norm(dim=1, keepdim=True)
    mean, shared = torch.randn(D, generator=made), torch.randn(RANK, D, generator=made)
    shared *= LOW_RANK_NORM / (RANK * D) ** 0.5
    spread = 2 * torch.rand(d_sae, generator=made)
    weights = Weights(directions, -(directions @ mean), spread, mean, shared)
    return with_l0(weights, l0)


def with_l0(weights: Weights, l0: float) -> Weights:
    """Shift the thresholds to where `l0` features fire on a token."""
    made = torch.Generator().manual_seed(0)
    spread = 2 * torch.rand(len(weights.directions), generator=made)
    x = make_rows(weights, _CALIBRATION_ROWS, seed=1)
    above = x @ weights.W_enc + weights.b_enc - spread
    shift = above.flatten().topk(round(l0 * len(x))).values[-1]
    return Weights(weights.directions, weights.b_enc, spread + shift, weights.mean, weights.shared)


def make_rows(weights: Weights, n: int, *, seed: int = 2) -> torch.Tensor:
    """Make rows [n, D] float32."""
    made = torch.Generator().manual_seed(seed)
    features = torch.randint(len(weights.directions), (n, N_ACTIVE), generator=made)
    values = WEAK + (STRONG - WEAK) * torch.rand(features.shape, generator=made) ** 3
    sparse = torch.nn.functional.embedding_bag(features, weights.directions, mode="sum", per_sample_weights=values)
    low_rank = torch.randn(n, RANK, generator=made) @ weights.shared
    return sparse + low_rank + weights.mean + NOISE * torch.randn(n, D, generator=made)


def with_massive(weights: Weights, x: torch.Tensor) -> tuple[Weights, torch.Tensor]:
    """Make a few inputs massive; the biases take up their means, as training has them do."""
    x, directions, made = x.clone(), weights.directions.clone(), torch.Generator().manual_seed(3)
    size, b_enc = x.square().mean().sqrt(), weights.b_enc.double()
    for i, times in MASSIVE.items():
        directions[:, i] *= 0.2
        x[:, i] += times * size * (1 + 0.05 * torch.randn(len(x), generator=made))
        b_enc = b_enc - times * size.double() * directions[:, i].double()
    return Weights(directions, b_enc.float(), weights.threshold, weights.mean, weights.shared), x


def with_sinks(x: torch.Tensor) -> torch.Tensor:
    x = x.clone()
    x[:: round(1 / SINK_SHARE)] *= SINK_SIZE
    return x


def make_sae(
    weights: Weights, *, k: int | None = None, dtype: torch.dtype = torch.float32, is_view: bool = False
) -> LoadedSae:
    """Make an SAE of these weights, TopK if `k`; its decoder is a size without numbers, for nothing here decodes.

    W_enc is a copy, laid out as in a file, or a view of the directions.
    """
    sizes = {"d_in": D, "d_sae": len(weights.directions), "apply_b_dec_to_input": False}
    about = {**sizes, "device": "meta", "dtype": str(dtype).removeprefix("torch.")}
    with contextlib.redirect_stdout(io.StringIO()):
        module = JumpReLUSAE(JumpReLUSAEConfig(**about)) if k is None else TopKSAE(TopKSAEConfig(**about, k=k))
    tensors = {
        "W_enc": weights.W_enc if is_view else weights.W_enc.contiguous(),
        "b_enc": weights.b_enc,
        "b_dec": torch.zeros(D),
    }
    if k is None:
        tensors["threshold"] = weights.threshold
    for name, tensor in tensors.items():
        setattr(module, name, torch.nn.Parameter(tensor.to(dtype), requires_grad=False))
    return LoadedSae(module, rule_of(module) if dtype == torch.float32 else None, {})
