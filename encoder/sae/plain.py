"""An inference SAE as SAELens has it, without SAELens: importing that takes four times as long as importing torch.

    architecture               weights beside W_enc [D, F], W_dec [F, O], b_dec [O]; O is D but for transcoders
    standard, topk, abstopk    b_enc [F]
    jumprelu                   b_enc [F], threshold [F]
    gated                      b_gate [F], b_mag [F], r_mag [F]
    transcoder                 b_enc [F]; skip_transcoder also W_skip [O, D]
    jumprelu_transcoder        b_enc [F], threshold [F]; jumprelu_skip_transcoder also W_skip [O, D]

All names are SAELens'. What is computed here is computed by the same operations in the same order as in SAELens, so
that the numbers are the same, bit for bit. `module` makes SAELens' own module of the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from sae_lens import SAE

_ALL = {"b_dec": "O", "W_dec": "FO", "W_enc": "DF"}
_ENCODER, _JUMP, _SKIP = {"b_enc": "F"}, {"threshold": "F", "b_enc": "F"}, {"W_skip": "OD"}
_AXES: dict[str, dict[str, str]] = {
    "standard": _ENCODER,
    "jumprelu": _JUMP,
    "topk": _ENCODER,
    "abstopk": _ENCODER,
    "gated": {"b_gate": "F", "r_mag": "F", "b_mag": "F"},
    "transcoder": _ENCODER,
    "skip_transcoder": _ENCODER | _SKIP,
    "jumprelu_transcoder": _JUMP,
    "jumprelu_skip_transcoder": _JUMP | _SKIP,
}
NORMS = ("none", "layer_norm", "constant_norm_rescale", "expected_average_only_in", "covariance_whitening")
"""Values of `normalize_activations`. The last two are folded into the weights before they are used."""
_EPSILON = 1e-5


@dataclass(slots=True)
class Config:
    """What SAELens' configuration says, beside the weights, of an SAE. `kind` is the architecture."""

    kind: str
    d_in: int
    d_sae: int
    apply_b_dec_to_input: bool = True
    normalize_activations: str = "none"
    reshape_activations: str = "none"
    metadata: dict[str, Any] = field(default_factory=dict)

    def architecture(self) -> str:
        return self.kind


@dataclass(slots=True)
class TopKConfig(Config):
    k: int = 100
    rescale_acts_by_decoder_norm: bool = False


@dataclass(slots=True)
class TranscoderConfig(Config):
    d_out: int = 768


def is_plain(architecture: object) -> bool:
    """Say whether this module knows the architecture."""
    return isinstance(architecture, str) and architecture in _AXES


def config_of(settings: Mapping[str, Any]) -> Config | None:
    """Make a configuration of what SAELens' has; None where SAELens would not take it, or it is not known here.

    Keys that decide nothing here are passed over, as SAELens does.
    """
    kind = settings.get("architecture")
    if not isinstance(kind, str) or kind not in _AXES:
        return None
    kinds = {"topk": TopKConfig, "abstopk": TopKConfig}
    made = TranscoderConfig if "transcoder" in kind else kinds.get(kind, Config)
    known = {name: settings[name] for name in made.__dataclass_fields__ if name in settings}
    if not all(type(settings.get(name)) is int and settings[name] > 0 for name in ("d_in", "d_sae")):
        return None
    config = made(**{**known, "kind": kind, "metadata": dict(known.get("metadata") or {})})
    hook_name = config.metadata.get("hook_name")
    is_hook_z = config.reshape_activations == "hook_z"
    if is_hook_z and hook_name is not None and not str(hook_name).endswith("_z"):
        return None
    if isinstance(config, TranscoderConfig) and (config.apply_b_dec_to_input or type(config.d_out) is not int):
        return None
    if type(config.apply_b_dec_to_input) is not bool or config.normalize_activations not in NORMS:
        return None
    return config


def shapes_of(config: Config) -> dict[str, tuple[int, ...]]:
    """Return the shape of each weight, by SAELens' name and in SAELens' order."""
    d_out = config.d_out if isinstance(config, TranscoderConfig) else config.d_in
    sizes = {"D": config.d_in, "F": config.d_sae, "O": d_out}
    return {name: tuple(sizes[axis] for axis in axes) for name, axes in (_ALL | _AXES[config.kind]).items()}


class Plain:
    """An inference SAE with float32 weights. Its attributes and methods are those of SAELens' module."""

    def __init__(self, config: Config, weights: Mapping[str, torch.Tensor]) -> None:
        self.cfg = config
        self._weights = {name: weights[name].float() for name in shapes_of(config)}
        self._module: SAE[Any] | None = None

    @classmethod
    def of(cls, config: Config, weights: Mapping[str, torch.Tensor]) -> Plain | None:
        """Make an SAE; None where these are not the weights that SAELens would take."""
        shapes = shapes_of(config)
        if shapes.keys() != weights.keys() or any(weights[name].shape != shapes[name] for name in shapes):
            return None
        return cls(config, weights) if all(weight.is_floating_point() for weight in weights.values()) else None

    def __getattr__(self, name: str) -> torch.Tensor:
        weights: dict[str, torch.Tensor] = self.__dict__.get("_weights", {})
        if name not in weights:
            raise AttributeError(f"a {type(self).__name__} SAE has no {name!r}")
        return weights[name]

    def state_dict(self) -> dict[str, torch.Tensor]:
        return dict(self._weights)

    @property
    def module(self) -> SAE[Any]:
        """SAELens' module of these weights, made at the first call: SAELens is imported then."""
        if self._module is None:
            from encoder.sae.loaders.by_sae_lens import module_of

            self._module = module_of(self.cfg, self._weights)
        return self._module

    def to(self, device: torch.device | None = None, dtype: torch.dtype | None = None) -> Plain:
        """Move the weights, as modules of torch move theirs: the SAE stays the same object."""
        self._weights = {name: weight.to(device=device, dtype=dtype) for name, weight in self._weights.items()}
        self._module = None
        return self

    def lay_by_feature(self) -> None:
        """Lay the weights of each feature together, as the kernels need them: so that W_enc is held once.

        An SAE of `ENCODERS` stays as it is: its products are SAELens' then, bit for bit.
        """
        if self.cfg.kind not in ENCODERS:
            self._weights["W_enc"] = self._weights["W_enc"].T.contiguous().T
            self._module = None

    def process_sae_in(self, x: torch.Tensor) -> torch.Tensor:
        """Return what SAELens' method of this name returns, of x [T, D], or [T, heads, D / heads] for hook_z."""
        x = x.to(self.W_enc.dtype)
        if self.cfg.reshape_activations == "hook_z":
            x = x.flatten(-2)
        x = self._normalised(x)[0]
        if isinstance(self.cfg, TranscoderConfig):
            return x
        return x - self.b_dec * self.cfg.apply_b_dec_to_input

    def fold_activation_norm_scaling_factor(self, factor: float) -> None:
        """Make weights for activations as they are of weights for activations times the factor."""
        self.W_enc.mul_(factor)
        self.W_dec.div_(factor)
        self.b_dec.div_(factor)
        self.cfg.normalize_activations = "none"

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features [T, F] of an SAE of `ENCODERS`, in the dtype of its weights."""
        return ENCODERS[self.cfg.kind](self, self.process_sae_in(x))

    def denormalised(self, rebuilt: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Undo the normalisation of rows x [T, D] in the rows that were rebuilt, as SAELens' decode does."""
        return self._normalised(x.to(rebuilt.device, self.W_enc.dtype))[1](rebuilt)

    def _normalised(self, x: torch.Tensor) -> tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
        """Return the rows normalised, and what undoes it."""
        if self.cfg.normalize_activations == "constant_norm_rescale":
            factor = (self.cfg.d_in**0.5) / x.norm(dim=-1, keepdim=True)
            return x * factor, lambda rebuilt: rebuilt / factor
        if self.cfg.normalize_activations == "layer_norm":
            mean = x.mean(dim=-1, keepdim=True)
            centred = x - mean
            deviation = centred.std(dim=-1, keepdim=True)
            return centred / (deviation + _EPSILON), lambda rebuilt: rebuilt * deviation + mean
        return x, lambda rebuilt: rebuilt


def _gated(sae: Plain, x: torch.Tensor) -> torch.Tensor:
    is_on = (x @ sae.W_enc + sae.b_gate > 0).to(x.dtype)
    return is_on * (x @ (sae.W_enc * sae.r_mag.exp()) + sae.b_mag).relu()


def _largest_by_size(sae: Plain, x: torch.Tensor) -> torch.Tensor:
    assert isinstance(sae.cfg, TopKConfig)
    h = x @ sae.W_enc + sae.b_enc
    if sae.cfg.rescale_acts_by_decoder_norm:
        h = h * sae.W_dec.norm(dim=-1)
    indices = torch.topk(h.abs(), k=sae.cfg.k, dim=-1, sorted=False).indices
    return torch.zeros_like(h).scatter_(-1, indices, h.gather(-1, indices))


ENCODERS: dict[str, Callable[[Plain, torch.Tensor], torch.Tensor]] = {"gated": _gated, "abstopk": _largest_by_size}
"""The architectures that are known here and have no exact rule."""
