"""Which features of a row are active, as an exact rule; and which architectures have such a rule.

A kernel needs the rule as numbers: which matrix, which biases, which thresholds. The function that reads these numbers
off an architecture's module is registered under the architecture's name:

    import encoder

    @encoder.register_rule("my_architecture")
    def rule_of_mine(module):
        return encoder.Rule(module.W_enc.data, module.b_enc.data, threshold=module.log_threshold.data.exp())

The name is the one that SAELens knows the architecture by. A function may return None for a module whose features are
no such rule. Without a rule, `sae.encode` in float64 is used, which is correct and slow. Rules live in the process that
registered them: a worker process has them if it imports the module that registers them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from encoder.errors import InputError
from encoder.sae.plain import Plain

if TYPE_CHECKING:
    from sae_lens import SAE


@dataclass(frozen=True, slots=True)
class Rule:
    """Which features are active, in exact arithmetic on h = (x W_enc + b_enc) * scale.

    Without `k`: the features with h > threshold. With `k`: of the k largest h, those above 0; of equal ones those of
    the lower index. x is what SAELens' own preprocessing makes of a row.
    W_enc [D, F], b_enc [F] and threshold [F] (at least 0) are float32; scale [F], if any, is float64.
    """

    W_enc: torch.Tensor
    b_enc: torch.Tensor
    threshold: torch.Tensor
    scale: torch.Tensor | None = None
    k: int | None = None


RuleOf = Callable[[Any], Rule | None]
"""Reads the rule off a module of SAELens, or a `Plain`, which has the same attributes; None where it has no rule."""

_rules: dict[str, RuleOf] = {}
_built_in: set[str] = set()


def register_rule(architecture: str) -> Callable[[RuleOf], RuleOf]:
    """Register the decorated function as the reader of this architecture's exact rule.

    The rule of an SAE is compared with the module's own `encode` when the SAE is loaded. A second registration replaces
    the first, so that a notebook's cell can be run again. Raises: InputError for an architecture that the encoder has
    its own rule for.
    """
    if architecture in _built_in:
        raise InputError(f"register_rule({architecture!r}): the encoder has its own rule for this architecture")

    def register(function: RuleOf) -> RuleOf:
        _rules[architecture] = function
        return function

    return register


def rule_of(source: Plain | SAE[Any]) -> Rule | None:
    """Return the SAE's exact rule; None where it has none. A user's function gets the module of SAELens.

    Raises: InputError where a user's rule is not what the module's own `encode` computes.
    """
    architecture = source.cfg.architecture()
    function = _rules.get(architecture)
    if function is None or architecture in _built_in:
        return None if function is None else function(source)
    module = source.module if isinstance(source, Plain) else source
    rule = function(module)
    if rule is not None:
        _check(rule, module)
    return rule


_N_PROBES = 64
_NEAR = 1e-3
"""Nearer than this to its limit, as a share of the largest value, float32 may decide either way."""


@torch.no_grad()
def _check(rule: Rule, module: SAE[Any]) -> None:
    """Compare a user's rule with `module.encode` on random rows of several sizes."""

    def refuse(why: str) -> InputError:
        return InputError(f"the rule that is registered for {module.cfg.architecture()} is wrong: {why}")

    d_in, d_sae = int(module.cfg.d_in), int(module.cfg.d_sae)
    shapes = {"W_enc": (d_in, d_sae), "b_enc": (d_sae,), "threshold": (d_sae,)}
    for name, shape in shapes.items():
        tensor = getattr(rule, name)
        if tuple(tensor.shape) != shape or tensor.dtype != torch.float32:
            raise refuse(f"{name} is {tensor.dtype} {list(tensor.shape)}, expected torch.float32 {list(shape)}")
    if rule.scale is not None and (tuple(rule.scale.shape) != (d_sae,) or rule.scale.dtype != torch.float64):
        raise refuse(f"scale is {rule.scale.dtype} {list(rule.scale.shape)}, expected torch.float64 {[d_sae]}")
    if (rule.threshold < 0).any() or (rule.scale is not None and (rule.scale < 0).any()):
        raise refuse("a threshold or a scale is negative")
    sizes = torch.logspace(-1, 2, _N_PROBES).unsqueeze(1)
    rows = torch.randn(_N_PROBES, d_in, generator=torch.Generator().manual_seed(0)) * sizes
    heads = rows.unsqueeze(-2) if module.cfg.reshape_activations == "hook_z" else rows
    h = (module.process_sae_in(heads) @ rule.W_enc + rule.b_enc) * (1 if rule.scale is None else rule.scale.float())
    limit = rule.threshold.expand_as(h)
    if rule.k is not None:
        least = h.topk(min(rule.k, d_sae), dim=1).values[:, -1:] if rule.k else torch.full_like(h[:, :1], torch.inf)
        limit = torch.maximum(limit, least.expand_as(h))
        ours = torch.where((h >= limit) & (h > 0), h, 0)
    else:
        ours = torch.where(h > limit, h, 0)
    theirs = module.encode(heads)
    near = _NEAR * h.abs().amax(dim=1, keepdim=True)
    differs = ((ours - theirs).abs() > near) & ((h - limit).abs() > near)
    if differs.any():
        row, feature = (int(n) for n in differs.nonzero()[0])
        raise refuse(
            f"for a random row it makes feature {feature} {float(ours[row, feature]):g}, where the module's own encode"
            f" says {float(theirs[row, feature]):g}"
        )


def _register_built_in(*architectures: str) -> Callable[[RuleOf], RuleOf]:
    def register(function: RuleOf) -> RuleOf:
        for architecture in architectures:
            _rules[architecture] = function
            _built_in.add(architecture)
        return function

    return register


# BatchTopK and Matryoshka SAEs are saved as JumpReLU for inference.
@_register_built_in(
    "standard", "jumprelu", "transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder"
)
def _thresholded(module: Any) -> Rule | None:
    """A threshold per feature, which is 0 where the activation function is ReLU."""
    if not isinstance(module, Plain) and not isinstance(module.activation_fn, torch.nn.ReLU):
        return None
    threshold = module.threshold.data if hasattr(module, "threshold") else torch.zeros_like(module.b_enc.data)
    return Rule(module.W_enc.data, module.b_enc.data, threshold.clamp_min(0))


@_register_built_in("topk")
def _top_k(module: Any) -> Rule:
    """The k largest; where the SAE says so, after multiplying by the norm of each feature's decoder row."""
    scale = module.W_dec.data.double().norm(dim=-1) if module.cfg.rescale_acts_by_decoder_norm else None
    return Rule(module.W_enc.data, module.b_enc.data, torch.zeros_like(module.b_enc.data), scale, int(module.cfg.k))
