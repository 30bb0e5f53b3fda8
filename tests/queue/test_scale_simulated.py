"""The simulation of a cluster says what can be said without one, where that is easy to say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.scale_simulated import Scene, by_formula, simulate

SMALL = Scene(n_tokens=1e9, n_workers=8, tokens_a_shard=1e5, tokens_a_second=1e5, scheduling_s=0.0, start_s=0.0)
"""10,000 shards of one second each for 8 workers: 1,250 s."""


def test_workers_that_wait_for_nothing_take_the_work_divided_by_their_number() -> None:
    outcome = simulate(SMALL)
    assert outcome.hours * 3600 == pytest.approx(1250)
    assert outcome.worker_hours * 3600 == pytest.approx(10_000) and outcome.n_lost == 0


def test_a_driver_that_is_too_slow_is_the_limit() -> None:
    outcome = simulate(replace(SMALL, scheduling_s=0.5))
    assert outcome.hours * 3600 == pytest.approx(5000, rel=0.01) and outcome.driver_busy > 0.99


def test_a_store_that_is_too_slow_is_the_limit() -> None:
    slow = replace(SMALL, bytes_a_token=1e3, store_bytes_a_second=1e8)
    assert simulate(slow).hours * 3600 == pytest.approx(1e9 * 1e3 / 1e8)


def test_losses_cost_the_shards_in_hand_and_the_starts_as_the_formula_says() -> None:
    lossy = replace(SMALL, mtbf_s=60.0, start_s=3.0)
    outcome = simulate(lossy)
    assert outcome.n_lost == pytest.approx(8 * outcome.hours * 3600 / 60, rel=0.15)
    assert outcome.hours == pytest.approx(by_formula(lossy), rel=0.05)
    assert outcome.hours * 3600 > 1250 * 1.04
