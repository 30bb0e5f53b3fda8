"""An SAE as the encoder needs it: its preprocessing, its weights and its rule, and the way back to check it.

Shapes: T rows, D = d_in, F = d_sae. `encoder.sae.load` makes one from what the command line names.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import embedding_bag

from encoder.arrays import F64
from encoder.file.csr import Csr
from encoder.sae.known import Known, folded_sha256
from encoder.sae.plain import Plain
from encoder.sae.rules import Rule
from encoder.sae.scale import decoder_norms, is_one, scale_note

if TYPE_CHECKING:
    from sae_lens import SAE

# Architectures that rebuild their input as features @ W_dec + b_dec, before SAELens undoes its normalisation.
REBUILDING = ("standard", "jumprelu", "gated", "topk", "abstopk")


class Warm(dict[Any, Any]):
    """What was made for an SAE and is used again. Copies of the SAE, also in other processes, begin without it."""

    def __reduce__(self) -> tuple[type[Warm], tuple[()]]:
        return Warm, ()


@dataclass(frozen=True, slots=True, repr=False)
class LoadedSae:
    """An SAE with float32 weights, and what is known of it.

    `source` is a `Plain`, or a module of SAELens where the architecture is not one of `encoder.sae.plain`.
    `rule` is None for an architecture without an exact rule; `source.encode` is used then. `identity` goes into every
    output: sae_release, sae_id, sae_path, neuronpedia_id, weights_sha256. `expected_l0` is the number of active
    features a token that the SAE was trained for, where known. `notes` are sentences for the user. `trained_on` is what
    its configuration tells of the activations it was trained on. `is_autoencoder` is False where its output is
    something else than its input, though its architecture rebuilds inputs. `decoder_norm` are the least and the largest
    norm of its decoder's rows. `value_scale` [F] is what values are multiplied by, None for the SAE's own scale. `warm`
    keeps the kernels that were made for this SAE.
    """

    source: Plain | SAE[Any]
    rule: Rule | None
    identity: dict[str, str | None]
    expected_l0: float | None = None
    notes: tuple[str, ...] = ()
    trained_on: dict[str, Any] = field(default_factory=dict)
    is_autoencoder: bool = True
    decoder_norm: tuple[float, float] = (1.0, 1.0)
    value_scale: F64 | None = field(default=None, compare=False)
    warm: Warm = field(default_factory=Warm, init=False, repr=False, compare=False)

    def __repr__(self) -> str:
        release, sae_id, path = (self.identity.get(key) for key in ("sae_release", "sae_id", "sae_path"))
        name = path or " ".join(part for part in (release, sae_id) if part) or "unnamed"
        at = f", at {self.hook_name}" if self.hook_name else ""
        return f"<LoadedSae {name}: {self.architecture}, d_in {self.d_in:,}, d_sae {self.d_sae:,}{at}>"

    @property
    def module(self) -> SAE[Any]:
        """SAELens' module of these weights. SAELens is imported for it, in seconds, if it was not needed before."""
        return self.source.module if isinstance(self.source, Plain) else self.source

    @property
    def d_in(self) -> int:
        return int(self.source.cfg.d_in)

    @property
    def d_sae(self) -> int:
        return int(self.source.cfg.d_sae)

    @property
    def architecture(self) -> str:
        return str(self.source.cfg.architecture())

    @property
    def hook_name(self) -> str:
        """Where in the model its activations come from, as its own files say; "" where they do not say."""
        return str(self.source.cfg.metadata.get("hook_name") or "")

    @property
    def model_name(self) -> str:
        """The language model that it was trained on, as its own files say; "" where they do not say."""
        return str(self.source.cfg.metadata.get("model_name") or "")

    @property
    def is_folded(self) -> bool:
        """Say whether its values come in Neuronpedia's scale."""
        return self.value_scale is not None

    def fold_decoder_norm(self) -> LoadedSae:
        """Return this SAE with values in Neuronpedia's scale: times the norm of each feature's decoder row.

        It counts as another SAE: its weights_sha256 differs, so that features of the two are never mixed.
        """
        if self.is_folded:
            return self
        identity = {**self.identity, "weights_sha256": folded_sha256(self.identity.get("weights_sha256"))}
        own, folded = (scale_note(*self.decoder_norm, is_folded=is_folded) for is_folded in (False, True))
        notes = (*(note for note in self.notes if note != own), *([folded] if folded else []))
        return replace(self, identity=identity, value_scale=decoder_norms(self.source), notes=notes)

    @property
    def facts(self) -> dict[str, Any]:
        """What `meta` says of the SAE beyond its identity: the scale of the values, and what it was trained on."""
        least, largest = self.decoder_norm
        return {
            "architecture": self.architecture,
            "hook_name": self.hook_name,
            "d_in": self.d_in,
            "d_sae": self.d_sae,
            "decoder_norm": {"least": least, "largest": largest},
            "value_scale": "neuronpedia" if self.is_folded or is_one(least, largest) else "own",
            "fold_decoder_norm": self.is_folded,
            "sae_trained_on": self.trained_on,
        }

    @property
    def known(self) -> Known:
        """What can be kept of the SAE for another process."""
        names = self.architecture, self.hook_name, self.model_name
        return Known(self.identity, *names, self.d_in, self.d_sae, self.decoder_norm, self.expected_l0)

    @property
    def rebuilds(self) -> bool:
        """Say whether decoding its features gives back what went in; a transcoder's output is something else."""
        return self.is_autoencoder and self.architecture in REBUILDING

    def flat(self, x: torch.Tensor) -> torch.Tensor:
        """Give rows [T, D] the shape that SAELens takes: heads apart for hook_z, just one, as it joins them again."""
        return x.unsqueeze(-2) if self.source.cfg.reshape_activations == "hook_z" else x

    @torch.no_grad()
    def prepare(self, x: torch.Tensor) -> torch.Tensor:
        """Apply SAELens' own preprocessing: [T, D] in any float dtype -> [T, D] float32, b_dec and norm applied."""
        prepared: torch.Tensor = self.source.process_sae_in(self.flat(x))
        return prepared

    @torch.no_grad()
    def decode(self, x: torch.Tensor, features: Csr) -> torch.Tensor:
        """Rebuild rows from their features, through the sparse rows: x [T, D], features [T, F] -> [T, D] float32.

        `x` is what was encoded: the norm for the way back is taken from it. Only where `rebuilds`.
        """
        W_dec = self.source.W_dec
        columns = torch.from_numpy(features.indices.astype(np.int64)).to(W_dec.device)
        own = features.data if self.value_scale is None else features.data / self.value_scale[features.indices]
        values = torch.from_numpy(own.astype(np.float32)).to(W_dec.device)
        if getattr(self.source.cfg, "rescale_acts_by_decoder_norm", False):
            values = values / W_dec.norm(dim=-1)[columns]
        starts = torch.from_numpy(features.indptr[:-1]).to(W_dec.device)
        rebuilt: torch.Tensor = (
            embedding_bag(columns, W_dec, starts, mode="sum", per_sample_weights=values) + self.source.b_dec
        )
        if isinstance(self.source, Plain):
            return self.source.denormalised(rebuilt, x)
        self.prepare(x.to(W_dec.device))  # SAELens keeps the norms of these rows for the way back
        rebuilt = self.source.run_time_activation_norm_fn_out(rebuilt)
        return rebuilt.reshape(len(x), self.d_in)
