"""An SAE as the encoder needs it: SAELens' preprocessing, its weights and its rule, and the way back to check it.

Shapes: T rows, D = d_in, F = d_sae. `encoder.sae.load` makes one from what the command line names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import embedding_bag

from encoder.file.csr import Csr

if TYPE_CHECKING:
    from sae_lens import SAE

# Architectures whose whole rule is: h = W x + b, then a threshold per feature. BatchTopK and Matryoshka SAEs are saved
# as JumpReLU for inference.
THRESHOLDED = (
    "standard",
    "jumprelu",
    "transcoder",
    "skip_transcoder",
    "jumprelu_transcoder",
    "jumprelu_skip_transcoder",
)
# Architectures that rebuild their input as features @ W_dec + b_dec, before SAELens undoes its normalisation.
REBUILDING = ("standard", "jumprelu", "gated", "topk", "abstopk")


@dataclass(frozen=True, slots=True)
class Rule:
    """Which features are active, in exact arithmetic on h = (x W_enc + b_enc) * scale.

    Without `k`: those with h > threshold. With `k`: of the k largest, those with h > 0; ties go to the lower index.
    W_enc [D, F], b_enc [F] and threshold [F] (at least 0) are float32; scale [F], if any, is float64.
    """

    W_enc: torch.Tensor
    b_enc: torch.Tensor
    threshold: torch.Tensor
    scale: torch.Tensor | None = None
    k: int | None = None


@dataclass(frozen=True, slots=True)
class LoadedSae:
    """An SAELens module with float32 weights, and what is known of it.

    `rule` is None for an architecture outside the rules; then `module.encode` is used. `identity` goes into every
    output: sae_release, sae_id, sae_path, neuronpedia_id, weights_sha256. `expected_l0` is what it was trained for,
    where known.
    """

    module: SAE[Any]
    rule: Rule | None
    identity: dict[str, str | None]
    expected_l0: float | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def d_in(self) -> int:
        return int(self.module.cfg.d_in)

    @property
    def d_sae(self) -> int:
        return int(self.module.cfg.d_sae)

    @property
    def architecture(self) -> str:
        return str(self.module.cfg.architecture())

    @property
    def hook_name(self) -> str:
        return str(getattr(self.module.cfg.metadata, "hook_name", None) or "")

    @property
    def rebuilds(self) -> bool:
        """Say whether decoding its features gives back what went in; a transcoder's output is something else."""
        return self.architecture in REBUILDING

    def flat(self, x: torch.Tensor) -> torch.Tensor:
        """Give rows [T, D] the shape that SAELens takes: heads apart for hook_z, just one, as it joins them again."""
        return x.unsqueeze(-2) if self.module.cfg.reshape_activations == "hook_z" else x

    @torch.no_grad()
    def prepare(self, x: torch.Tensor) -> torch.Tensor:
        """Apply SAELens' own preprocessing: [T, D] in any float dtype -> [T, D] float32, b_dec and norm applied."""
        prepared: torch.Tensor = self.module.process_sae_in(self.flat(x))
        return prepared

    @torch.no_grad()
    def decode(self, x: torch.Tensor, features: Csr) -> torch.Tensor:
        """Rebuild rows from their features, through the sparse rows: x [T, D], features [T, F] -> [T, D] float32.

        `x` is what was encoded: SAELens takes the norm for the way back from it. Only where `rebuilds`.
        """
        W_dec = self.module.W_dec
        self.prepare(x.to(W_dec.device))
        columns = torch.from_numpy(features.indices.astype(np.int64)).to(W_dec.device)
        values = torch.from_numpy(features.data.astype(np.float32)).to(W_dec.device)
        if getattr(self.module.cfg, "rescale_acts_by_decoder_norm", False):
            values = values / W_dec.norm(dim=-1)[columns]
        starts = torch.from_numpy(features.indptr[:-1]).to(W_dec.device)
        rebuilt: torch.Tensor = (
            embedding_bag(columns, W_dec, starts, mode="sum", per_sample_weights=values) + self.module.b_dec
        )
        rebuilt = self.module.run_time_activation_norm_fn_out(rebuilt)
        return rebuilt.reshape(len(x), self.d_in)


def rule_of(module: SAE[Any]) -> Rule | None:
    """Return the SAE's exact rule; None for an architecture that has another."""
    architecture = module.cfg.architecture()
    W_enc, b_enc = module.W_enc.data, getattr(module, "b_enc", None)
    if b_enc is None:
        return None
    zero = torch.zeros_like(b_enc.data)
    if architecture in THRESHOLDED and isinstance(module.activation_fn, torch.nn.ReLU):
        threshold = module.threshold.data if hasattr(module, "threshold") else zero
        return Rule(W_enc, b_enc.data, threshold.clamp_min(0))
    if architecture == "topk":
        scale = module.W_dec.data.double().norm(dim=-1) if module.cfg.rescale_acts_by_decoder_norm else None
        return Rule(W_enc, b_enc.data, zero, scale, int(module.cfg.k))
    return None
