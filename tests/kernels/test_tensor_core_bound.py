"""The bound of tensor_core_bound.py, against a simulated tensor core and rows that are made to break it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import tensor_core
import torch
from kernel_cases import hard_rows, make_sae, random_sae

from encoder.kernels.gpu.tensor_core_bound import Columns, columns_of, int8_columns_of
from encoder.kernels.gpu.triton_rows import Rows, quantize_rows, scale_rows
from encoder.sae.rules import Rule

INTERPRETED = pytest.mark.skipif("config.getoption('markexpr') == 'gpu'", reason="runs in Triton's interpreter")
Multiply = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def _unit(name: str, *, flush: bool = False) -> Multiply:
    products, extra_bits = tensor_core.UNITS[name]

    def multiply(x: torch.Tensor, W: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(tensor_core.multiply(x.numpy(), W.numpy(), products, extra_bits, flush=flush))

    return multiply


def _nearest(x: torch.Tensor, W: torch.Tensor) -> torch.Tensor:
    return x.float() @ W.float().T


UNITS = [pytest.param(_unit(name), id=name) for name in tensor_core.UNITS] + [
    pytest.param(_unit("V100", flush=True), id="V100-flushing"),
    pytest.param(_nearest, id="to-nearest"),
]


def _shares(x: torch.Tensor, rule: Rule, multiply: Multiply) -> torch.Tensor:
    """Return |error| / bound of each pair whose bound is not 0; where it is, the error must be 0."""
    rows, columns = scale_rows(x), columns_of(rule)
    p = multiply(rows.x, columns.W).double() * columns.unscale.double()
    exact = (x.double() @ rule.W_enc.double()) * rows.scale.double()[:, None]
    bound = (rows.norm[:, None] * columns.error + rows.error[:, None] * columns.norm).double()
    error = (p - exact).abs()
    assert (error[bound == 0] == 0).all()
    return torch.where(bound > 0, error / bound, 0.0)


def _misses(x: torch.Tensor, rule: Rule, multiply: Multiply) -> int:
    """Count the active features that the test, in the screen's own float32 arithmetic, rules out."""
    rows, columns = scale_rows(x), columns_of(rule)
    h = x.double() @ rule.W_enc.double() + rule.b_enc.double()
    return int(((h > rule.threshold.double()) & _ruled_out(rows, columns, multiply)).sum())


def _ruled_out(rows: Rows, columns: Columns, multiply: Multiply) -> torch.Tensor:
    value = multiply(rows.x, columns.W) * columns.unscale
    bound = rows.norm[:, None] * columns.error + rows.error[:, None] * columns.norm
    return value + bound <= rows.scale[:, None] * columns.offset


def _just_active(x: torch.Tensor, W_enc: torch.Tensor) -> Rule:
    """Make thresholds so that row j's feature j is active by less than a unit in float32's last place."""
    h = (x.double() * W_enc.T.double()).sum(dim=1)
    assert (h > 0).all()
    nearest = h.float()
    threshold = torch.where(nearest.double() >= h, torch.nextafter(nearest, torch.tensor(0.0)), nearest)
    return make_sae(W_enc, torch.zeros(len(h)), threshold).rule  # type: ignore[return-value]


def _adversary(kind: str, d_in: int, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Make rows x [n, D] and weights W_enc [D, n]; row j does its worst for feature j, and loses towards zero."""
    made = torch.Generator().manual_seed(len(kind))
    if kind == "weights":  # the row points where the column's rounding does
        W = torch.randn(4 * n, d_in, generator=made)
        columns = columns_of(Rule(W.T, torch.zeros(4 * n), torch.zeros(4 * n)))
        rounding = W.double() - columns.W.double() * columns.unscale.double()[:, None]
        x = (rounding / rounding.abs().amax(dim=1, keepdim=True)).bfloat16().float()
        some = ((x * W).sum(dim=1) > 0).nonzero()[:n, 0]
        x, W = x[some], W[some]
    elif kind == "activations":  # each entry just below the middle between two float16, where most is lost
        x = torch.full((n, d_in), 1.0 + 2.0**-11 - 2.0**-20)
        x = x + torch.randint(0, 512, x.shape, generator=made) * 2.0**-10
        W = torch.full((n, d_in), 1.0)
    elif kind == "sums":  # after a first product of 1 the others lie just below the last place, and all of them are cut
        x, W = torch.full((n, d_in), 2.0**-11), torch.full((n, d_in), (2.0 - 2.0**-10) * 2.0**-13)
        x[:, 0] = W[:, 0] = 1.0
    else:  # products with all their bits, all of one sign
        x, W = (1.0 + torch.randint(0, 512, (n, d_in), generator=made) * 2.0**-9 + 2.0**-10 for _ in range(2))
    return x, W.T.contiguous()


@INTERPRETED
@pytest.mark.parametrize("multiply", UNITS)
@pytest.mark.parametrize("kind", ["weights", "activations", "sums", "one sign"])
def test_rows_made_to_break_the_bound_do_not(kind: str, multiply: Multiply) -> None:
    x, W_enc = _adversary(kind, d_in=1030, n=12)
    rule = _just_active(x, W_enc)
    assert _shares(x, rule, multiply).max() <= 1
    assert _misses(x, rule, multiply) == 0


@INTERPRETED
@pytest.mark.parametrize(("kind", "share"), [("weights", 0.5), ("activations", 0.5), ("sums", 0.6)])
def test_the_adversary_comes_near_the_bound(kind: str, share: float) -> None:
    x, W_enc = _adversary(kind, d_in=1030, n=12)
    assert _shares(x, _just_active(x, W_enc), _unit("V100")).diagonal().min() >= share


@INTERPRETED
@pytest.mark.parametrize("multiply", UNITS)
def test_hard_rows_and_columns_stay_within_the_bound(multiply: Multiply) -> None:
    rule = random_sae(100, 64).rule
    assert rule is not None
    x = hard_rows(100)
    assert _shares(x, rule, multiply).max() <= 1
    assert _misses(x, rule, multiply) == 0


@INTERPRETED
def test_bfloat16_and_float16_rows_are_not_rounded() -> None:
    x = hard_rows(100)[[1, 2, 3, 4, 5, 8, 9, 14, 15]]
    for dtype, rows in ((torch.bfloat16, x), (torch.float16, x[5:])):
        scaled = scale_rows(rows.to(dtype).float())
        assert scaled.exact.all()
        back = scaled.x.double() / scaled.scale.double()[:, None]
        torch.testing.assert_close(back, rows.to(dtype).double(), rtol=0, atol=0)
    assert not scale_rows(x[8:] + 2.0**-15).exact.any()


@INTERPRETED
def test_the_simulated_unit_cuts_where_the_chips_do() -> None:
    """2^24 + 1 + 1 + ...: V100 loses every 1, A100 keeps what lies one bit further down, H100 two."""
    x = np.array([[2.0**12, 1.0, 1.0, 1.0]], np.float16)
    W = np.array([[2.0**12, 1.0, 1.0, 1.0]], np.float16)
    found = [tensor_core.multiply(x, W, *unit)[0, 0] - 2.0**24 for unit in tensor_core.UNITS.values()]
    assert found == [0.0, 2.0, 2.0]
    halves = np.array([[2.0**12, 0.5, 0.5, 0.5, 0.5]], np.float16)
    ones = np.array([[2.0**12, 1.0, 1.0, 1.0, 1.0]], np.float16)
    found = [tensor_core.multiply(halves, ones, *unit)[0, 0] - 2.0**24 for unit in tensor_core.UNITS.values()]
    assert found == [0.0, 0.0, 2.0]


def _int8_shares(x: torch.Tensor, rule: Rule, massive: list[int]) -> tuple[torch.Tensor, int]:
    """Return |error| / bound of each pair in int8, and how many active features the test rules out."""
    columns = int8_columns_of(rule, torch.tensor(massive, dtype=torch.int64))
    rows = quantize_rows(x, columns)
    value = (rows.x.double() @ columns.W.double().T).float() * columns.unscale + rows.terms[1:].T @ columns.factors[1:]
    bound = rows.norm[:, None] * columns.error + rows.error[:, None] * columns.norm
    bound = bound + rows.terms[0][:, None] * columns.factors[0]
    offset = rows.scale[:, None] * columns.offset
    ruled_out = value + (bound + offset.abs() * 2.0**-22) <= offset
    h = x.double() @ rule.W_enc.double()
    error = (value.double() - h * rows.scale.double()[:, None]).abs()
    assert (error[bound == 0] == 0).all()
    misses = int(((h + rule.b_enc.double() > rule.threshold.double()) & ruled_out).sum())
    return torch.where(bound > 0, error / bound.double(), 0.0), misses


@INTERPRETED
@pytest.mark.parametrize("massive", [[], [3], [0, 5, 77, 1029]])
@pytest.mark.parametrize("kind", ["weights", "activations", "sums", "one sign"])
def test_rows_made_to_break_a_bound_do_not_break_int8s(kind: str, massive: list[int]) -> None:
    x, W_enc = _adversary(kind, d_in=1030, n=12)
    x[:, massive] = x[:, massive].abs() * 1000 * W_enc[massive].T.sign()
    shares, misses = _int8_shares(x, _just_active(x, W_enc), massive)
    assert shares.max() <= 1 and misses == 0


@INTERPRETED
def test_rows_of_whole_numbers_along_the_columns_roundings_come_near_int8s_bound() -> None:
    W = torch.randn(40, 1030, generator=torch.Generator().manual_seed(1))
    columns = int8_columns_of(Rule(W.T, torch.zeros(40), torch.zeros(40)), torch.zeros(0, dtype=torch.int64))
    rounding = W.double() - columns.W.double() * columns.unscale.double()[:, None]
    x = (rounding / rounding.abs().amax(dim=1, keepdim=True) * 127).round().float()
    some = ((x * W).sum(dim=1) > 0).nonzero()[:, 0]
    shares, misses = _int8_shares(x[some], _just_active(x[some], W[some].T.contiguous()), [])
    assert 0.99 < shares.diagonal().min() <= shares.max() <= 1 and misses == 0


@INTERPRETED
@pytest.mark.parametrize("massive", [[], [3], [3, 5]])
def test_hard_rows_and_columns_stay_within_int8s_bound(massive: list[int]) -> None:
    rule = random_sae(100, 64).rule
    assert rule is not None
    shares, misses = _int8_shares(hard_rows(100), rule, massive)
    assert not shares.gt(1).any() and misses == 0


def test_limits_are_rounded_down_and_keep_their_sign() -> None:
    threshold = torch.tensor([1.0, 0.1, 0.0, 1e-45, 0.3, 3e38, 0.0])
    b_enc = torch.tensor([1e-9, -0.2, 1e-40, 0.0, 0.3, -3e38, 0.0])
    limit = columns_of(Rule(torch.ones(3, 7), b_enc, threshold)).offset.double()
    assert (limit <= threshold.double() - b_enc.double()).all()
    assert limit[2] < -(2.0**-110) and limit[4] == limit[6] == 0 and math.isfinite(limit[5])
