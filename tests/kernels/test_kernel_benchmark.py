"""What the kernel's benchmark makes up and how it counts."""

from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.kernel import OURS, in_turns
from benchmarks.kernel_data import D, make_rows, make_sae, make_weights, with_l0, with_massive, with_sinks
from benchmarks.kernel_others import others, wrong_decisions
from benchmarks.kernel_plots import BF16, draw
from benchmarks.kernel_screen import bytes_moved
from encoder.kernels.cpu.kernel import CpuKernel, tile_rows
from encoder.kernels.massive import find_massive


def test_ratios_are_taken_within_a_round_and_the_first_round_does_not_count() -> None:
    # In each round ours takes 1, 2, 4 seconds and the other thrice that: a machine that slows down changes no ratio.
    seconds = iter([9.0, 9.0, 1.0, 3.0, 2.0, 6.0, 4.0, 12.0])
    now = [0.0]
    order = []

    def ran(what: str) -> None:
        order.append(what)
        now[0] += next(seconds)

    runs = {OURS: lambda: ran(OURS), "other": lambda: ran("other")}
    mine, other = in_turns(runs, 1000, 3, wall=lambda: now[0], cpu=count().__next__)
    assert order == [OURS, "other"] * 4
    assert (mine.wall_us, mine.times) == (2000.0, 1.0)
    assert (other.wall_us, other.times) == (6000.0, 3.0)
    assert (other.cpu_us, other.cpu_times) == (1000.0, 1.0)


def test_rows_and_thresholds_give_the_wanted_l0_again_and_again() -> None:
    weights = make_weights(1024, l0=40)
    x = make_rows(weights, 256)
    assert torch.equal(x, make_rows(make_weights(1024), 256))
    for l0, made in ((40, weights), (10, with_l0(weights, 10))):
        features = CpuKernel(make_sae(made), n_threads=1).encode(x)
        assert len(features.indices) / len(x) == pytest.approx(l0, rel=0.15)


def test_massive_inputs_are_massive_and_leave_l0_as_it_was() -> None:
    weights = make_weights(1024, l0=40)
    massive, x = with_massive(weights, make_rows(weights, 256))
    assert find_massive(x).tolist() == [334, 1068, 1570]
    features = CpuKernel(make_sae(massive), n_threads=1).encode(x)
    assert len(features.indices) / len(x) == pytest.approx(40, rel=0.3)


def test_one_row_in_twenty_is_a_sink() -> None:
    x = torch.ones(40, D)
    assert (with_sinks(x)[:, 0] > 1).nonzero().flatten().tolist() == [0, 20]


def test_wrong_decisions_are_those_that_differ_from_exact_arithmetic() -> None:
    weights = make_weights(512, l0=40)
    sae, x = make_sae(weights), make_rows(weights, 64).bfloat16()
    exact = CpuKernel(sae, n_threads=1).encode(x)
    assert wrong_decisions(sae, x, exact).n_wrong <= 1  # float32 itself, at a threshold
    low = make_sae(weights, dtype=torch.bfloat16)
    wrong = wrong_decisions(low, x, exact)
    is_on = np.zeros((64, 512), np.bool_)
    for t in range(64):
        is_on[t, exact.indices[exact.indptr[t] : exact.indptr[t + 1]]] = True
    differs = (low.module.encode(x) != 0).numpy() != is_on
    assert (wrong.n_wrong, wrong.n_tokens_wrong) == (differs.sum(), differs.any(axis=1).sum())
    assert wrong.n_wrong > 0


def test_bytes_are_those_of_the_shapes() -> None:
    moved = bytes_moved("int8", 16_384, hits=300, candidates=100, nnz=100)
    assert list(moved.values()) == [
        (4 + 2) * D / 1e3,
        D * 16_384 / tile_rows("int8") / 1e3,
        2 * 4 * 16_384 / 1e3,
        4 * D * 300 / 1e3,
        4 * D * 32 / 1e3,
        2 * (1200 + 2400 + 800) / 1e3,
    ]


def test_the_plot_is_drawn_the_same_again(tmp_path: Path) -> None:
    weights = make_weights(64, l0=5)
    names = list(others(make_sae(weights), make_sae(weights, dtype=torch.bfloat16), make_rows(weights, 1)))
    us = dict.fromkeys([OURS, BF16, names[0], names[4], names[5]], 100.0)
    points = [{"axis": axis, "at": at, "us": us} for axis in ("d_sae", "l0", "tokens") for at in (16, 4096)]
    for name in ("one.svg", "two.svg"):
        draw(points, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
