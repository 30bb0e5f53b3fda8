"""The pace: what passes the bucket in any window, who waits for whom after a 429, and the brake before the wall."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_time import now, run

from saefetch.errors import RateLimitedError
from saefetch.net.brake import Brake
from saefetch.net.outage import Outage
from saefetch.net.pace import Host, token_bucket
from saefetch.net.pause import LEAST_PAUSE_S, Pause

TINY_S = 1e-6


def make_pause(max_total_s: float = 1e9, **knobs: Any) -> Pause:
    return Pause(now=now, sleep=asyncio.sleep, max_total_s=max_total_s, **knobs)


def make_brake() -> Brake:
    return Brake(now=now, sleep=asyncio.sleep)


def make_outage(max_total_s: float = 120.0) -> Outage:
    return Outage(now=now, sleep=asyncio.sleep, jitter=lambda: 1.0, max_total_s=max_total_s)


def assert_polite(times: list[float], requests_per_second: float) -> None:
    """Check every window that begins and ends at a request; no other window can hold more."""
    burst = max(1.0, requests_per_second)
    for first, begin in enumerate(times):
        for last in range(first, len(times)):
            allowed = requests_per_second * (times[last] - begin) + burst
            assert last - first + 1 <= allowed + TINY_S, (begin, times[last])


async def settle() -> None:
    """Let every task go on until all of them wait for something."""
    for _ in range(20):
        await asyncio.sleep(0)


class Waiters:
    """Tasks that wait at a pause; `passed` says when each was let through, and whether as the probe."""

    def __init__(self, pause: Pause, n: int) -> None:
        self.passed: list[tuple[float, bool]] = []
        self.tasks = [asyncio.create_task(self._wait(pause)) for _ in range(n)]

    async def _wait(self, pause: Pause) -> None:
        probe = await pause.wait()
        self.passed.append((now(), probe))


# -- the token bucket ------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    requests_per_second=st.one_of(st.floats(0.01, 1), st.floats(1, 60), st.sampled_from([1.0, 1.5, 2.0, 20.0])),
    arrivals_s=st.lists(st.floats(0, 20), min_size=1, max_size=60),
    cancelled=st.sets(st.integers(0, 59)),
)
def test_in_any_window_at_most_rate_times_window_plus_burst_pass(
    requests_per_second: float, arrivals_s: list[float], cancelled: set[int]
) -> None:
    async def main() -> None:
        bucket = token_bucket(requests_per_second)
        passed: list[float] = []

        async def request(arrival_s: float) -> None:
            await asyncio.sleep(arrival_s)
            await bucket.acquire()
            passed.append(now())

        tasks = [asyncio.create_task(request(arrival_s)) for arrival_s in arrivals_s]
        for number, task in enumerate(tasks):
            if number in cancelled:
                asyncio.get_running_loop().call_later(arrivals_s[number] + 0.5, task.cancel)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert_polite(passed, requests_per_second)
        # And it is no slower than it has to be.
        burst = max(1.0, requests_per_second)
        latest_s = max(arrivals_s) + max(0.0, (len(arrivals_s) - burst) / requests_per_second) + 1 / requests_per_second
        assert max(passed, default=0.0) <= latest_s + TINY_S

    run(main())


@pytest.mark.parametrize(("requests_per_second", "n_at_once"), [(0.1, 1), (1, 1), (2.5, 2), (20, 20)])
def test_the_burst_is_one_seconds_worth_and_at_least_one(requests_per_second: float, n_at_once: int) -> None:
    async def main() -> None:
        bucket = token_bucket(requests_per_second)
        for _ in range(n_at_once):
            await bucket.acquire()
        assert now() < TINY_S
        await bucket.acquire()
        assert now() == pytest.approx((n_at_once + 1 - max(1, requests_per_second)) / requests_per_second, abs=TINY_S)

    run(main())


# -- the pause ---------------------------------------------------------------------------------------------------------


def test_while_paused_nobody_passes_and_then_exactly_one_until_it_has_its_answer() -> None:
    async def main() -> None:
        pause = make_pause()
        assert pause.remaining_s is None
        pause.trip(None, probe=False)
        waiters = Waiters(pause, 6)
        await asyncio.sleep(59.9)
        assert waiters.passed == []
        assert pause.remaining_s == pytest.approx(0.1, abs=TINY_S)
        await asyncio.sleep(500)
        assert [probe for _, probe in waiters.passed] == [True]
        assert waiters.passed[0][0] == pytest.approx(60, abs=TINY_S)
        pause.lift()
        await settle()
        assert [probe for _, probe in waiters.passed] == [True] + [False] * 5
        assert pause.remaining_s is None
        assert await pause.wait() is False

    run(main())


def test_each_refused_probe_doubles_the_pause_up_to_the_cap_and_an_answer_starts_over() -> None:
    async def main() -> None:
        pause = make_pause(first_s=60, cap_s=400)
        waits = []
        pause.trip(None, probe=False)
        for _ in range(5):
            began = now()
            assert await pause.wait() is True
            waits.append(round(now() - began, 3))
            pause.trip(None, probe=True)
        assert waits == [60, 120, 240, 400, 400]
        assert await pause.wait() is True
        pause.lift()
        began = now()
        pause.trip(None, probe=False)
        assert await pause.wait() is True
        assert now() - began == pytest.approx(60, abs=TINY_S)

    run(main())


def test_answers_of_requests_sent_before_the_pause_do_not_escalate_it() -> None:
    async def main() -> None:
        pause = make_pause()
        for _ in range(8):  # eight workers, eight 429s
            pause.trip(None, probe=False)
        assert await pause.wait() is True
        assert now() == pytest.approx(60, abs=TINY_S)
        pause.trip(None, probe=False)  # a straggler, while the probe is out
        pause.trip(None, probe=True)
        assert await pause.wait() is True
        assert now() == pytest.approx(60 + 120, abs=TINY_S)

    run(main())


def test_the_servers_retry_after_wins_over_our_own_guess() -> None:
    async def main() -> None:
        pause = make_pause()
        pause.trip(7, probe=False)
        assert await pause.wait() is True
        assert now() == pytest.approx(7, abs=TINY_S)
        pause.trip(3000, probe=True)  # longer than our cap
        assert await pause.wait() is True
        assert now() == pytest.approx(3007, abs=TINY_S)

    run(main())


def test_a_stragglers_longer_retry_after_is_obeyed_by_those_who_wait_already() -> None:
    async def main() -> None:
        pause = make_pause()
        pause.trip(10, probe=False)
        waiters = Waiters(pause, 3)
        await asyncio.sleep(5)
        pause.trip(100, probe=False)
        pause.trip(1, probe=False)  # a shorter one changes nothing
        await asyncio.sleep(1000)
        assert [(round(time_s, 3), probe) for time_s, probe in waiters.passed] == [(105, True)]
        pause.lift()
        await settle()

    run(main())


def test_a_refused_probe_does_not_shorten_what_a_straggler_was_told() -> None:
    async def main() -> None:
        pause = make_pause()
        pause.trip(10, probe=False)
        assert await pause.wait() is True
        pause.trip(600, probe=False)
        pause.trip(1, probe=True)
        assert await pause.wait() is True
        assert now() == pytest.approx(610, abs=TINY_S)

    run(main())


@settings(max_examples=80, deadline=None)
@given(data=st.data(), n_workers=st.integers(1, 6))
def test_no_one_passes_before_any_retry_after_and_never_two_probes_at_once(data: st.DataObject, n_workers: int) -> None:
    retry_after = st.sampled_from([None, 0.0, 1.0, 30.0, 500.0])
    outcomes = st.sampled_from(["answer", "answer", "429", "429", "no answer", "cancelled"])
    script = data.draw(st.lists(st.tuples(st.sampled_from([0.0, 2.0, 70.0]), outcomes, retry_after), max_size=30))

    async def main() -> None:
        pause, steps = make_pause(first_s=60), iter(script)
        not_before = 0.0
        probes_out = 0

        async def worker() -> None:
            nonlocal not_before, probes_out
            for duration_s, outcome, retry_after_s in steps:
                probe = await pause.wait()
                assert now() >= not_before - TINY_S
                probes_out += probe
                assert probes_out <= 1
                await asyncio.sleep(duration_s)
                probes_out -= probe
                if outcome == "429":
                    if retry_after_s is not None:
                        not_before = max(not_before, now() + retry_after_s)
                    pause.trip(retry_after_s, probe=probe)
                elif probe and outcome == "answer":
                    not_before = 0.0  # it has let one through, so it has changed its mind
                    pause.lift()
                elif probe:
                    pause.unsettle()

        await asyncio.gather(*(worker() for _ in range(n_workers)))

    run(main())


def test_a_pause_longer_than_the_user_allows_is_an_error_that_is_not_retried() -> None:
    async def main() -> None:
        pause = make_pause(max_total_s=59)
        with pytest.raises(RateLimitedError, match=r"60 s.*--max-wait-s 59") as caught:
            pause.trip(None, probe=False)
        assert caught.value.retry is False
        assert caught.value.stop is True
        assert RateLimitedError("another").retry is True

    run(main())


def test_the_pauses_since_the_first_refusal_are_summed_up() -> None:
    async def main() -> None:
        pause = make_pause(max_total_s=200)
        pause.trip(None, probe=False)
        assert await pause.wait() is True
        pause.trip(None, probe=True)  # 60 + 120 is allowed
        assert await pause.wait() is True
        assert now() == pytest.approx(180, abs=TINY_S)
        with pytest.raises(RateLimitedError):
            pause.trip(21, probe=True)
        assert await pause.wait() is True, "another may be the probe; the host stays closed"
        pause.lift()
        pause.trip(200, probe=False)  # an answer came in between: the sum begins anew

    run(main())


def test_a_straggler_with_a_retry_after_beyond_the_limit_fails_alone() -> None:
    async def main() -> None:
        pause = make_pause(max_total_s=200)
        pause.trip(10, probe=False)
        with pytest.raises(RateLimitedError):
            pause.trip(201, probe=False)
        assert await pause.wait() is True
        assert now() == pytest.approx(10, abs=TINY_S)

    run(main())


def test_a_probe_without_an_answer_hands_over_to_the_next() -> None:
    async def main() -> None:
        pause = make_pause()
        pause.trip(None, probe=False)
        waiters = Waiters(pause, 3)
        await asyncio.sleep(100)
        assert [probe for _, probe in waiters.passed] == [True]
        pause.unsettle()
        await settle()
        assert [probe for _, probe in waiters.passed] == [True, True]
        assert waiters.passed[1][0] == pytest.approx(100, abs=TINY_S), "nobody told us to wait longer"
        pause.lift()
        await settle()
        assert [probe for _, probe in waiters.passed] == [True, True, False]

    run(main())


# -- the brake ---------------------------------------------------------------------------------------------------------


def test_with_plenty_left_nobody_brakes_and_towards_the_wall_the_gap_grows() -> None:
    brake = Brake(now=lambda: 0.0, sleep=asyncio.sleep)
    assert brake.gap_s == 0
    gaps = []
    for remaining in (25_000, 1000, 999, 700, 300, 50, 1, 0):
        brake.note(remaining)
        gaps.append(brake.gap_s)
    assert gaps[:2] == [0, 0]
    assert gaps[1:] == sorted(gaps[1:])
    assert len(set(gaps[1:])) == len(gaps[1:])
    assert gaps[-1] == Brake.SLOWEST_S


@pytest.mark.parametrize("before", [None, 25_000, 100])
def test_a_lone_zero_does_not_brake(before: int | None) -> None:
    brake = Brake(now=lambda: 0.0, sleep=asyncio.sleep)
    if before is not None:
        brake.note(before)
    gap_s = brake.gap_s
    brake.note(0)
    assert (brake.remaining, brake.gap_s) == (before, gap_s)


def test_requests_are_spread_out_when_the_quota_is_low_and_none_is_owed_after_a_rest() -> None:
    async def main() -> None:
        brake = make_brake()
        brake.note(500)
        gap_s = brake.gap_s
        assert gap_s == pytest.approx(0.5)
        passed: list[float] = []

        async def request() -> None:
            await brake.wait()
            passed.append(now())

        await asyncio.sleep(100)
        await asyncio.gather(*(request() for _ in range(5)))
        assert passed == pytest.approx([100 + k * gap_s for k in range(5)], abs=TINY_S)
        await asyncio.sleep(1000)
        began = now()
        await request()
        assert now() - began < TINY_S

    run(main())


# -- all of them -------------------------------------------------------------------------------------------------------


async def within(seconds: float, awaitable: Awaitable[bool]) -> bool | None:
    try:
        return await asyncio.wait_for(awaitable, seconds)
    except TimeoutError:
        return None


def test_who_waits_for_a_token_when_the_pause_begins_is_held_too() -> None:
    async def main() -> None:
        host = Host(token_bucket(0.1), make_pause(), make_brake(), make_outage())
        assert await host.admit() is False
        late = asyncio.create_task(host.admit())
        await asyncio.sleep(5)
        host.pause.trip(300, probe=False)
        assert await late is True
        assert now() >= 305

    run(main())


def test_a_probe_that_is_cancelled_while_it_waits_for_its_token_hands_over() -> None:
    async def main() -> None:
        host = Host(token_bucket(0.001), make_pause(), make_brake(), make_outage())
        await host.admit()
        host.pause.trip(10, probe=False)
        assert await within(20, host.admit()) is None
        assert await within(2000, host.admit()) is True

    run(main())


def test_how_long_requests_wait_for_the_bucket_and_the_brake_is_counted() -> None:
    async def main() -> None:
        host = Host(token_bucket(0.1), make_pause(), make_brake(), make_outage(), now=now)
        await asyncio.gather(*(host.admit() for _ in range(3)))
        assert host.waited_s == pytest.approx(0 + 10 + 20, abs=TINY_S), "each by itself"
        host.pause.trip(300, probe=False)
        await host.admit()
        assert host.waited_s == pytest.approx(30, abs=TINY_S), "a pause is none of the limiter's"
        host.pause.lift()
        host.brake.note(1)
        await host.admit()
        assert await within(1, host.acquire()) is None
        assert host.waited_s > 30 + host.brake.gap_s, "also of those who gave up"

    run(main())


def test_the_probe_does_not_brake_and_the_others_do() -> None:
    async def main() -> None:
        host = Host(token_bucket(1000), make_pause(), make_brake(), make_outage())
        host.brake.note(1)
        await host.admit()
        host.pause.trip(0, probe=False)
        began = now()
        assert await host.admit() is True
        assert now() - began == pytest.approx(LEAST_PAUSE_S, abs=TINY_S)
        host.pause.lift()
        began = now()
        assert await host.admit() is False
        assert now() - began == pytest.approx(host.brake.gap_s - LEAST_PAUSE_S, abs=TINY_S), "the pause counts"

    run(main())


@settings(max_examples=40, deadline=None)
@given(
    requests_per_second=st.floats(0.2, 20),
    refused=st.sets(st.integers(0, 59), max_size=20),
    retry_after_s=st.one_of(st.none(), st.floats(0, 30)),
)
def test_the_rate_holds_through_pauses_and_probes(
    requests_per_second: float, refused: set[int], retry_after_s: float | None
) -> None:
    async def main() -> None:
        host = Host(token_bucket(requests_per_second), make_pause(first_s=5, cap_s=20), make_brake(), make_outage())
        sent: list[float] = []

        async def worker() -> None:
            while len(sent) < 60:
                probe = await host.admit()
                number = len(sent)
                sent.append(now())
                await asyncio.sleep(0.3)
                if number in refused:
                    host.pause.trip(retry_after_s, probe=probe)
                elif probe:
                    host.pause.lift()

        await asyncio.gather(*(worker() for _ in range(4)))
        assert_polite(sent, requests_per_second)

    run(main())
