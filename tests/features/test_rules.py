"""A user's architecture with the rule that they registered: exact where the rule is right, refused where it is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import encoding
import numpy as np
import pytest
import torch
from encoding import D_IN, D_SAE, dense, truth
from sae_lens.registry import SAE_CLASS_REGISTRY, register_sae_class
from sae_lens.saes.standard_sae import StandardSAE, StandardSAEConfig

import encoder
from encoder.errors import InputError
from encoder.kernels import make_kernel
from encoder.sae import rules

NAME = "above_a_tenth"


class TenthConfig(StandardSAEConfig):
    @classmethod
    def architecture(cls) -> str:
        return NAME


class Tenth(StandardSAE):
    """Features are active above a tenth."""

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        h = self.process_sae_in(x) @ self.W_enc + self.b_enc
        return torch.where(h > 0.1, h, 0)


@pytest.fixture
def saved(tmp_path: Path) -> Iterator[Path]:
    register_sae_class(NAME, Tenth, TenthConfig)
    try:
        module = encoding.make_module(NAME)
        with torch.no_grad():
            module.W_enc /= 4  # most pre-activations are near a tenth
        yield encoding.save(module, tmp_path / "sae")
    finally:
        del SAE_CLASS_REGISTRY[NAME]
        rules._rules.pop(NAME, None)


def rows() -> torch.Tensor:
    return torch.randn(40, D_IN, generator=torch.Generator().manual_seed(3)) * 0.2


def rule_with(above: float, **changes: Any) -> rules.RuleOf:
    def rule(module: Any) -> rules.Rule:
        numbers = {"W_enc": module.W_enc.data, "b_enc": module.b_enc.data, "threshold": torch.full((D_SAE,), above)}
        return encoder.Rule(**numbers | changes)

    return rule


def test_an_architecture_without_a_rule_is_encoded_by_its_own_module(saved: Path) -> None:
    sae = encoder.load_sae(sae_path=saved)
    assert sae.rule is None and "no exact rule" in sae.notes[0]
    kernel = make_kernel(sae, torch.device("cpu"), "auto")
    assert kernel.name == "sae.encode"
    expected = truth(sae, rows())
    np.testing.assert_array_equal(dense(kernel.encode(rows())) != 0, (expected != 0).numpy())


def test_a_registered_rule_gives_the_kernels_that_architecture(saved: Path) -> None:
    registered = encoder.register_rule(NAME)(rule_with(0.1))
    assert registered is rules._rules[NAME], "the function is given back, as a decorator has to"
    sae = encoder.load_sae(sae_path=saved)
    assert sae.rule is not None and not any("no exact rule" in note for note in sae.notes)
    kernel = make_kernel(sae, torch.device("cpu"), "auto")
    assert kernel.name == "cpu"
    expected = truth(sae, rows())
    found = dense(kernel.encode(rows()))
    assert 0 < expected.count_nonzero() < expected.numel()
    np.testing.assert_array_equal(found != 0, (expected != 0).numpy())
    np.testing.assert_array_max_ulp(found, expected.float().numpy(), maxulp=1)


WRONG: dict[str, tuple[rules.RuleOf, str]] = {
    "a threshold of 0": (rule_with(0.0), "own encode says 0"),
    "a threshold of 1": (rule_with(1.0), "it makes feature"),
    "a negative threshold": (rule_with(-1.0), "a threshold or a scale is negative"),
    "k": (rule_with(0.0, k=3), "it makes feature"),
    "a scale": (rule_with(0.1, scale=torch.full((D_SAE,), 2.0, dtype=torch.float64)), "it makes feature"),
    "a float32 scale": (rule_with(0.1, scale=torch.ones(D_SAE)), "expected torch.float64"),
    "a threshold for each input": (rule_with(0.1, threshold=torch.ones(D_IN)), f"expected torch.float32 [{D_SAE}]"),
    "float64 biases": (rule_with(0.1, b_enc=torch.zeros(D_SAE).double()), "b_enc is torch.float64"),
    "other biases": (rule_with(0.1, b_enc=torch.ones(D_SAE)), "it makes feature"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_rule_is_refused_when_the_sae_is_loaded(saved: Path, name: str) -> None:
    rule, word = WRONG[name]
    encoder.register_rule(NAME)(rule)
    with pytest.raises(InputError, match=NAME) as refused:
        encoder.load_sae(sae_path=saved)
    assert word in str(refused.value)
    encoder.register_rule(NAME)(rule_with(0.1))
    assert encoder.load_sae(sae_path=saved).rule is not None, "a second registration replaces the first"


def test_a_rule_may_decline_a_module(saved: Path) -> None:
    encoder.register_rule(NAME)(lambda module: None)
    assert encoder.load_sae(sae_path=saved).rule is None


@pytest.mark.parametrize("architecture", ["jumprelu", "topk"])
def test_the_encoders_own_rules_are_not_replaced(architecture: str) -> None:
    with pytest.raises(InputError, match=f"{architecture}.*its own rule"):
        encoder.register_rule(architecture)
