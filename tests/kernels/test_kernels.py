"""The CPU kernel equals the exact truth, whatever it screens with, and gives the same bytes however it is asked."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from exact_truth import exact_truth
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import assert_equal_bytes, assert_same, hard_rows, make_sae, random_sae

from encoder.errors import InputError
from encoder.file.csr import Csr
from encoder.kernels.cpu import calibrate
from encoder.kernels.cpu import kernel as cpu
from encoder.kernels.cpu.calibrate import PRECISIONS, int8_is_exact, screen_precision
from encoder.kernels.cpu.kernel import CpuKernel
from encoder.kernels.cpu.trial import MIN_ROWS, Trial, seconds_of_passes
from encoder.kernels.exact import exact_h
from encoder.kernels.kernel import Choice
from encoder.kernels.massive import find_massive
from encoder.kernels.reference import ReferenceKernel
from encoder.sae.sae import LoadedSae

SCREENS = [
    pytest.param(name, marks=pytest.mark.skipif(name == "int8" and not int8_is_exact(), reason="int8 saturates here"))
    for name in PRECISIONS
]
RULES = [
    pytest.param(None, False, id="jumprelu"),
    pytest.param(5, False, id="topk"),
    pytest.param(40, True, id="topk-scaled"),
]


def _rows(n_rows: int, d_in: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n_rows, d_in, generator=torch.Generator().manual_seed(seed)) * 2


def _encode(sae: LoadedSae, x: torch.Tensor, screen: str, n_threads: int = 2) -> Csr:
    return CpuKernel(sae, screen=screen, n_threads=n_threads).encode(x)


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize(("k", "scaled"), RULES)
@pytest.mark.parametrize("n_rows", [0, 1, 63, 64, 65])
def test_odd_shapes_equal_the_truth(n_rows: int, k: int | None, scaled: bool, screen: str) -> None:
    sae = random_sae(37, 130, k=k, scaled=scaled, seed=n_rows)
    x = _rows(n_rows, 37)
    assert_same(_encode(sae, x, screen), exact_truth(sae, x))


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("k", [None, 32])
def test_a_thousand_rows_of_wide_inputs_equal_float64(k: int | None, screen: str) -> None:
    sae = random_sae(600, 2100, k=k)  # three chunks of features, two tiles
    x = _rows(1000, 600).to(torch.bfloat16)
    assert_same(_encode(sae, x, screen), ReferenceKernel(sae).encode(x))


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize(("k", "scaled"), RULES)
def test_zero_huge_tiny_and_denormal_rows_equal_the_truth(k: int | None, scaled: bool, screen: str) -> None:
    sae, x = random_sae(70, 130, k=k, scaled=scaled, seed=5), hard_rows(70)
    assert_same(_encode(sae, x, screen), exact_truth(sae, x))


@pytest.mark.parametrize("screen", SCREENS)
def test_ties_at_the_threshold_and_one_unit_beside_it_equal_the_truth(screen: str) -> None:
    made = torch.Generator().manual_seed(6)
    W_enc = torch.randint(-8, 9, (40, 99), generator=made).float()
    x = torch.randint(-8, 9, (9, 40), generator=made).float()
    h = (x @ W_enc)[torch.arange(99) % 9, torch.arange(99)]  # feature j ties in row j % 9
    h, b_enc = h.abs() + 1, h.abs() + 1 - h
    above, below = (torch.nextafter(h, torch.tensor(to)) for to in (torch.inf, 0.0))
    sae = make_sae(W_enc, b_enc, torch.stack([above, h, below])[torch.arange(99) // 9 % 3, torch.arange(99)])
    found = _encode(sae, x, screen)
    assert_same(found, exact_truth(sae, x))
    active = {(t, int(j)) for t in range(9) for j in found.indices[found.indptr[t] : found.indptr[t + 1]]}
    assert {(j % 9, j) for j in range(99) if j // 9 % 3 == 2} <= active
    assert not {(j % 9, j) for j in range(99) if j // 9 % 3 != 2} & active


@pytest.mark.parametrize("screen", SCREENS)
def test_what_float64_cannot_tell_is_decided_exactly(screen: str) -> None:
    W_enc = torch.tensor([[2.0**30, 2.0**30], [1.0, 1.0], [-(2.0**30), -(2.0**30)]])
    x = torch.tensor([[2.0**30, 2.0**-12, 2.0**30], [2.0**30, -(2.0**-12), 2.0**30], [2.0**30, 0.0, 2.0**30]])
    sae = make_sae(W_enc, torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0]))
    found = _encode(sae, x, screen)
    np.testing.assert_array_equal(found.indptr, [0, 2, 2, 2])
    np.testing.assert_array_equal(found.data, np.float32([2.0**-12, 1 + 2.0**-12]))


def test_exact_h_is_the_sum_of_fractions() -> None:
    made = torch.Generator().manual_seed(1)
    x, w = (torch.randn(50, generator=made) * torch.logspace(-44, 37, 50) for _ in range(2))
    from fractions import Fraction

    truth = sum((Fraction(a) * Fraction(b) for a, b in zip(x.tolist(), w.tolist(), strict=True)), Fraction(0.25))
    assert exact_h(x.numpy(), w.numpy(), 0.25) == truth


@pytest.mark.parametrize("screen", SCREENS)
def test_equal_columns_tie_to_the_lower_index(screen: str) -> None:
    sae = random_sae(50, 40, k=7)
    assert sae.rule is not None
    sae.rule.W_enc[:, 20:] = sae.rule.W_enc[:, :20]
    sae.rule.b_enc[20:] = sae.rule.b_enc[:20]
    x = _rows(30, 50)
    assert_same(_encode(sae, x, screen), exact_truth(sae, x))


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("k", [None, 100])
def test_attention_sinks_with_every_feature_active_equal_the_truth(k: int | None, screen: str) -> None:
    sae, x = random_sae(64, 1500, k=k), _rows(70, 64)
    assert sae.rule is not None
    x[[0, 64]] = sae.rule.W_enc.sum(dim=1) * 0 + 50.0
    sae.rule.W_enc[:] = sae.rule.W_enc.abs()
    assert_same(_encode(sae, x, screen), ReferenceKernel(sae).encode(x))


@pytest.mark.parametrize(("dtype", "most"), [(torch.bfloat16, 1.2), (torch.float32, 1.4)])
def test_massive_inputs_cost_no_candidates(dtype: torch.dtype, most: float) -> None:
    made = torch.Generator().manual_seed(3)
    W_enc = torch.randn(2304, 1024, generator=made) / 48
    x = torch.randn(256, 2304, generator=made)
    x[:, 334], x[:, 1570] = 3000.0 + 100 * x[:, 334], -1500.0
    x = x.to(dtype)
    b_enc = -(x.double().mean(dim=0)[[334, 1570]] @ W_enc.double()[[334, 1570]]).float()  # as training does
    sae = make_sae(W_enc, b_enc, torch.full((1024,), 2.5))
    kernel = CpuKernel(sae, screen="bf16")
    found = kernel.encode(x)
    assert_same(found, ReferenceKernel(sae).encode(x))
    assert len(found.indices) > 500
    assert kernel.stages.candidates <= most * len(found.indices)


def test_a_massive_input_in_the_shade_of_a_larger_one_is_found() -> None:
    x = torch.randn(64, 2304, generator=torch.Generator().manual_seed(4))
    x[:, 1570] *= 10
    x[:, 334] = 1000.0
    assert find_massive(x).tolist() == [334, 1570]


def test_the_caller_keeps_its_threads() -> None:
    sae, x, found = random_sae(64, 100), _rows(64, 64), list[int]()

    def call() -> None:
        torch.set_num_threads(3)
        CpuKernel(sae, screen="fp32", n_threads=1).encode(x)
        found.append(torch.get_num_threads())

    thread, before = threading.Thread(target=call), torch.get_num_threads()
    thread.start()
    thread.join()
    torch.set_num_threads(before)
    assert found == [3]


@pytest.mark.skipif(not int8_is_exact(), reason="int8 products saturate here")
def test_int8_is_given_up_where_it_lets_nearly_everything_through() -> None:
    sae, x = random_sae(2304, 300), _rows(64, 2304)
    x[:, :2304:77] *= 40  # more massive inputs than are taken out
    truth = ReferenceKernel(sae).encode(x)
    kernel = CpuKernel(sae)
    kernel.choice = Choice("int8", "measured")
    assert_same(kernel.encode(x), truth)
    assert kernel.choice.precision != "int8"
    assert kernel.notes == (f"screen in {kernel.choice.precision}: {kernel.choice.reason}",)
    assert_same(kernel.encode(x), truth)
    forced = CpuKernel(sae, screen="int8")
    assert_same(forced.encode(x), truth)
    assert forced.choice.precision == "int8"


@pytest.mark.parametrize("k", [None, 9])
def test_bytes_do_not_depend_on_batches_threads_or_the_screen(k: int | None) -> None:
    sae = random_sae(100, 1100, k=k)
    x = torch.cat([_rows(700, 100), hard_rows(100)])
    whole = _encode(sae, x, "fp32", n_threads=1)
    for screen in PRECISIONS if int8_is_exact() else PRECISIONS[1:]:
        for n_threads in (1, 3):
            kernel = CpuKernel(sae, screen=screen, n_threads=n_threads)
            for size in (717, 300, 41):
                parts = [kernel.encode(x[start : start + size]) for start in range(0, len(x), size)]
                assert_equal_bytes(Csr.concatenate(parts, 1100), whole)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_finite_numbers_equal_the_truth(data: st.DataObject) -> None:
    floats = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**60), max_value=2.0**60)
    n_rows, d_in, d_sae = (data.draw(st.integers(1, most)) for most in (4, 9, 12))

    def draw(*shape: int) -> torch.Tensor:
        n = int(np.prod(shape))
        return torch.tensor(data.draw(st.lists(floats, min_size=n, max_size=n)), dtype=torch.float32).reshape(shape)

    k = data.draw(st.none() | st.integers(1, 13))
    sae = make_sae(draw(d_in, d_sae), draw(d_sae), draw(d_sae).abs() if k is None else None, k=k)
    x = draw(n_rows, d_in)
    truth = exact_truth(sae, x)
    for screen in PRECISIONS if int8_is_exact() and d_in > 1 else PRECISIONS[1:]:
        found = _encode(sae, x, screen)
        np.testing.assert_array_equal(found.indptr, truth.indptr)
        np.testing.assert_array_equal(found.indices, truth.indices)


def test_the_first_rows_decide_between_near_contenders(monkeypatch: pytest.MonkeyPatch) -> None:
    sae, x = random_sae(100, 1500), _rows(400, 100)
    names, truth = PRECISIONS if int8_is_exact() else PRECISIONS[1:], ReferenceKernel(sae).encode(x)
    for fastest in names:
        kernel = CpuKernel(sae)
        kernel.choice = Choice(names[0], "a guess", contenders=names)
        monkeypatch.setattr(
            cpu, "seconds_of_passes", lambda *_, it=fastest: {name: 2.0 - (name == it) for name in names}
        )
        assert_same(kernel.encode(x[: MIN_ROWS - 1]), ReferenceKernel(sae).encode(x[: MIN_ROWS - 1]))
        assert kernel.choice.reason == "a guess"  # too few rows to tell
        assert_same(kernel.encode(x), truth)
        assert kernel.choice.precision == fastest == kernel._columns_for(x).precision and not kernel.choice.contenders
        assert kernel.notes[0].startswith(f"screen in {fastest}, measured on the first rows: ")
        assert kernel.notes[0].count("takes 2.00 times as long") == len(names) - 1


@pytest.mark.parametrize("k", [None, 20])
def test_a_trial_times_the_whole_pass_of_each_precision_in_turns(k: int | None) -> None:
    sae, x = random_sae(100, 1500, k=k), _rows(300, 100)
    names, kernel = PRECISIONS if int8_is_exact() else PRECISIONS[1:], CpuKernel(sae)
    decider, ticks = kernel._decider, iter(range(1000))
    rule = Trial(kernel._weights, decider.b_enc, kernel._limits, kernel._floor_factors, decider.scale, k)
    taken = seconds_of_passes(names, x.numpy(), rule, np.array([3]), kernel._threads, lambda: next(ticks) ** 2)
    n = len(
        names
    )  # a tick from 2 k to 2 k + 1 takes 4 k + 1; the first round is lost, of the others the earlier takes less
    assert taken == {name: 4 * (n + i) + 1 for i, name in enumerate(names)}
    assert next(ticks) == 3 * 2 * n
    assert all(one > 0 for one in seconds_of_passes(names, x.numpy(), rule, np.array([3]), kernel._threads).values())


@pytest.mark.parametrize(
    ("seconds", "chosen", "contenders"),
    [
        ({"int8": 1.0, "bf16": 1.7, "fp32": 9.0}, "int8", ("int8", "bf16")),  # AMX
        ({"int8": 1.0, "bf16": 1.4, "fp32": 4.0}, "bf16", ("int8", "bf16")),
        ({"int8": 1.0, "bf16": 1.8, "fp32": 2.0}, "int8", ("int8", "bf16", "fp32")),
        ({"int8": 1.0, "bf16": 6.0, "fp32": 3.0}, "int8", ()),  # VNNI, and bfloat16 emulated
        ({"bf16": 6.0, "fp32": 1.0}, "fp32", ()),
    ],
)
def test_near_products_are_left_to_the_first_rows(
    seconds: dict[str, float], chosen: str, contenders: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SAEFETCH_SCREEN", raising=False)
    monkeypatch.setattr(calibrate, "_measured", lambda _: seconds)
    choice = screen_precision()
    assert (choice.precision, choice.contenders) == (chosen, contenders)
    assert ("the first rows decide" in choice.reason) == bool(contenders)


def test_the_screen_is_measured_or_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAEFETCH_SCREEN", raising=False)
    assert screen_precision().precision in PRECISIONS
    assert screen_precision(without_int8=True).precision != "int8"
    assert screen_precision("fp32").precision == "fp32"
    assert screen_precision(d_in=1).precision != "int8" != screen_precision(d_in=1 << 17).precision
    assert screen_precision(without_int8=True).contenders == () == screen_precision("fp32").contenders
    assert screen_precision(is_top_k=True).precision in PRECISIONS
    if int8_is_exact():
        with pytest.raises(InputError, match="int8, asked for: not for 1 inputs"):
            screen_precision("int8", d_in=1)
    monkeypatch.setenv("SAEFETCH_SCREEN", "bf16")
    assert screen_precision().reason == "set by SAEFETCH_SCREEN"
    assert screen_precision("fp32").precision == "fp32"
    with pytest.raises(InputError, match="'fp8', asked for: expected one of int8, bf16, fp32"):
        screen_precision("fp8")


AVX2 = """
import sys
import torch
from exact_truth import exact_truth
from kernel_cases import assert_same, hard_rows, random_sae
from encoder.kernels.cpu.calibrate import int8_levels
from encoder.kernels.cpu.kernel import CpuKernel

print(int8_levels(700))
x = torch.cat([hard_rows(700), torch.full((64, 700), 127.0), torch.full((64, 700), -127.0)])
for k in (None, 40):
    sae = random_sae(700, 260, k=k)
    sae.rule.W_enc[:, 100:130], sae.rule.W_enc[:, 130:160] = 127.0, -127.0
    kernel = CpuKernel(sae, screen="int8")
    assert_same(kernel.encode(x), exact_truth(sae, x))
    assert kernel.choice.precision == "int8"
"""


@pytest.mark.skipif("not __import__('torch').backends.cpu.get_cpu_capability().startswith('AVX')", reason="needs AVX2")
def test_with_avx2_alone_the_int8_screen_takes_seven_bits_of_a_row_and_is_exact() -> None:
    """In a process of its own, as oneDNN reads what it may use once; products of -127..127 would saturate there."""
    environment = os.environ | {
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    done = subprocess.run([sys.executable, "-c", AVX2], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["64"]
