"""Which precision the Triton screen takes: by name, by what the SAE and the device allow, or by the trial's times."""

from __future__ import annotations

import pytest
import torch
from kernel_cases import random_sae

from encoder.errors import InputError
from encoder.kernels.gpu.triton_choice import choose_screen, fastest
from encoder.sae.rules import Rule

CPU = torch.device("cpu")


def _rule(k: int | None = None, d_in: int = 16) -> Rule:
    rule = random_sae(d_in, 64, k=k).rule
    assert rule is not None
    return rule


def test_a_precision_is_taken_by_name_and_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAEFETCH_SCREEN", raising=False)
    assert choose_screen("int8", _rule(), CPU).is_forced
    assert choose_screen(None, _rule(), CPU).precision == "fp16"
    monkeypatch.setenv("SAEFETCH_SCREEN", "int8")
    choice = choose_screen(None, _rule(), CPU)
    assert (choice.precision, choice.reason, choice.is_forced) == ("int8", "set by SAEFETCH_SCREEN", True)


def test_a_precision_of_the_cpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAEFETCH_SCREEN", "bf16")
    with pytest.raises(InputError, match="'bf16', set by SAEFETCH_SCREEN: expected int8 or fp16 for the Triton kernel"):
        choose_screen(None, _rule(), CPU)


def test_more_inputs_than_int32_can_add_up_are_refused() -> None:
    rule = Rule(torch.zeros(1 << 17, 1), torch.zeros(1), torch.zeros(1))
    with pytest.raises(InputError, match="int8, asked for: not for 131,072 inputs"):
        choose_screen("int8", rule, CPU)


def test_topk_and_devices_without_fast_int8_are_not_tried() -> None:
    choices = [choose_screen(None, _rule(k), CPU) for k in (None, 5)]
    assert [choice.contenders for choice in choices] == [(), ()]
    assert choices[1].reason == "int8 is not for TopK"


def test_the_trial_takes_the_fastest_and_says_by_how_much() -> None:
    choice = fastest({"int8": 3.0, "fp16": 2.0})
    assert (choice.precision, choice.reason) == ("fp16", "measured on the first rows: int8 takes 1.50 times as long")
