"""Outages, restarts, lone faults and poisoned rows are told apart: what each costs in requests, and nothing is lost.

Client and stand-in share one loop of virtual time, so that minutes of waiting take no time and every figure is exact.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from harness import MODEL, SOURCE, Download, asked, downloading, make_world
from virtual_time import now, run

from saefetch.errors import RequestError, ServerError, UnreachableError
from saefetch.net.outage import MAX_OUTAGE_S, Outage
from saefetch.sources.size import Size
from saefetch.terminal.progress import Display
from standin import (
    DatabaseDown,
    Fault,
    Mangle,
    Record,
    Reset,
    Respond,
    ShortBody,
    Stall,
    Standin,
    World,
)

A_FULL_HOUR = 1_800_000_000.0
API = {"requests_per_second": None, "max_attempts": 6, "max_wait_s": 3900.0}
"""As a user has it: 20 requests a second."""


def between(begin_s: float, end_s: float) -> Callable[[Record], bool]:
    return lambda record: record.origin == "api" and begin_s <= record.time_s < end_s


def crawl(
    tmp_path: Path,
    *faults: Fault,
    n_features: int = 3000,
    source: str = "batch",
    during: Callable[[Standin], Any] | None = None,
    world: World | None = None,
    serve: dict[str, Any] | None = None,
    **knobs: Any,
) -> tuple[Download, Standin, float]:
    """Download in virtual time that begins at 0; return how it ended, whom it asked, and when that was."""

    async def main() -> tuple[Download, Standin, float]:
        standin = Standin(
            world or make_world(n_features),
            faults=faults,
            lean=True,
            clock=now,
            wall=lambda: A_FULL_HOUR + now(),
            latency_s=0.05,
            **serve or {},
        )
        async with standin:
            aside = asyncio.create_task(during(standin)) if during else None
            done = await downloading(standin, tmp_path, source, **API | knobs)
            if aside:
                await aside
            return done, standin, now()

    return run(main())


# -- outages -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("down_s", [1, 10, 60])
def test_an_outage_is_sat_out_without_splitting_and_nothing_fails(tmp_path: Path, down_s: float) -> None:
    done, standin, took_s = crawl(tmp_path, Fault(DatabaseDown(), between(0.4, 0.4 + down_s), times=None))
    sizes = [len(batch) for batch in asked(standin)]
    assert (done.status, done.summary.successful, done.summary.failed) == (0, 3000, 0)
    assert set(sizes) <= {100, 1}, "no batch was split"
    # 30 batches; those in flight when it began, once or twice; and the small request, ever more rarely.
    assert len(sizes) <= 30 + 2 * 8 + 1 + math.ceil(math.log2(1 + down_s)) + down_s / 4 + 2
    assert took_s <= 0.4 + down_s + 9 + 4


@pytest.mark.parametrize("source", ["batch", "feature"])
def test_an_outage_for_good_ends_the_run_after_two_minutes_and_few_requests(tmp_path: Path, source: str) -> None:
    done, standin, took_s = crawl(
        tmp_path, Fault(DatabaseDown(), between(0.4, math.inf), times=None), source=source, n_features=6000
    )
    n_failed = sum(record.status == 500 for record in standin.requests)
    assert (done.status, n_failed <= 2 * 8 + 1 + 33) == (1, True)
    assert "keeps failing, for 120 s now" in str(done.outcome.error) and "500" in str(done.outcome.error)
    assert MAX_OUTAGE_S <= took_s <= MAX_OUTAGE_S + 10
    assert done.summary.successful > 0 and done.raw


def test_while_it_waits_for_the_server_it_says_so(tmp_path: Path) -> None:
    class Heard(Display):
        def tick(self, words: Sequence[str] = (), pause: str = "") -> None:
            pauses.append((now(), pause))

    pauses: list[tuple[float, str]] = []
    outage = Fault(DatabaseDown(), between(0.4, 10.4), times=None)
    crawl(tmp_path, outage, n_features=6000, display=Heard())
    waited = [at for at, pause in pauses if "waiting for the server" in pause]
    assert 0.4 < min(waited) < 1.5 and 10 < max(waited) < 20
    assert pauses[-1][1] == ""


def test_an_outage_from_the_beginning_is_one_too(tmp_path: Path) -> None:
    done, standin, _ = crawl(tmp_path, Fault(DatabaseDown(), between(0, 30), times=None))
    assert (done.status, done.summary.successful) == (0, 3000)
    assert len(standin.requests) <= 30 + 2 * 8 + 8


def test_an_outage_costs_the_classic_crawl_no_feature(tmp_path: Path) -> None:
    outage = Fault(DatabaseDown(), between(2, 12), times=None)
    done, standin, _ = crawl(tmp_path, outage, source="feature", n_features=300)
    assert (done.status, done.summary.successful) == (0, 300)
    assert len(standin.requests) <= 300 + 2 * 8 + 8


@pytest.mark.parametrize("source", ["batch", "feature", "auto"])
def test_a_restart_that_refuses_connections_is_waited_for(tmp_path: Path, source: str) -> None:
    async def restart(standin: Standin) -> None:
        await asyncio.sleep(1)
        await standin.refuse_connections(20)

    world = make_world(600, absent_from_export=range(300, 600))
    done, _standin, took_s = crawl(
        tmp_path, world=world, source=source, during=restart, requests_per_second=20, batch_size=10
    )
    assert (done.status, done.summary.successful, done.summary.failed) == (0, 600, 0)
    if source != "auto":
        assert took_s >= 21, "it was still downloading when the restart began"


def test_a_poisoned_row_amid_an_outage_is_still_found(tmp_path: Path) -> None:
    world = make_world(1000)
    faults = [Fault(DatabaseDown(), between(0.2, 5), times=None)]
    done, standin, _ = crawl(tmp_path, *faults, world=world, serve={"nan_features": {(MODEL, SOURCE, 456)}})
    assert (done.status, done.failed(), done.summary.successful) == (1, [456], 999)
    assert len(standin.requests) <= 10 + 2 * 8 + 8 + 2 + 14 + 6 + 8


def test_poisoned_rows_in_many_batches_are_no_outage(tmp_path: Path) -> None:
    poisoned = set(range(50, 1000, 100))
    done, _standin, took_s = crawl(
        tmp_path, n_features=1000, serve={"nan_features": {(MODEL, SOURCE, index) for index in poisoned}}
    )
    assert (done.status, done.failed()) == (1, sorted(poisoned))
    assert took_s < 120, "nothing was waited for"


# -- lone faults -------------------------------------------------------------------------------------------------------

HTML = Respond(200, {"Content-Type": "text/html"}, b"<html>Just a moment</html>")
TEN_WAYS = [
    Respond(500),
    Respond(502),
    Respond(503),
    Respond(504),
    Respond(408),
    Reset(300),
    ShortBody(300),
    HTML,
    Mangle(lambda body: body[: len(body) // 2]),
    Stall(300),
]


@pytest.mark.parametrize("seed", range(3))
def test_one_answer_in_five_broken_in_ten_ways_costs_little_more_than_its_repetition(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    ways = [Fault(way, match="POST", times=None, probability=0.02, seed=draw.randrange(1 << 30)) for way in TEN_WAYS]
    done, standin, _ = crawl(tmp_path, *ways, n_features=16_384)
    assert (done.status, done.summary.successful, done.summary.failed) == (0, 16_384, 0)
    # Of 40 draws the median took 231 requests and the worst 400; splitting at every fault took 1,365.
    assert len(standin.requests) <= 164 * 3


def test_a_lone_500_is_asked_again_in_the_same_size(tmp_path: Path) -> None:
    done, standin, _ = crawl(tmp_path, Fault(DatabaseDown(), match="POST", times=1), n_features=250, concurrency=1)
    assert (done.status, [len(batch) for batch in asked(standin)]) == (0, [100, 100, 100, 50])


def test_what_failed_while_others_were_failing_is_asked_once_more_before_the_end(tmp_path: Path) -> None:
    seen = Counter[int]()

    def bad(record: Record) -> bool:
        """Both fail until each has failed by itself, twice."""
        indices = [element["index"] for element in record.json()]
        if all(seen[index] >= 2 for index in (7, 150)):
            return False
        seen.update(indices if len(indices) == 1 else [])
        return bool({7, 150} & set(indices))

    done, standin, _ = crawl(tmp_path, Fault(DatabaseDown(), match=bad, times=None), n_features=1000, max_attempts=2)
    assert (done.status, done.summary.successful) == (0, 1000), "both came when they were asked for at the end"
    assert asked(standin)[-1] == [7, 150]


def test_a_lone_poisoned_row_is_not_asked_once_more(tmp_path: Path) -> None:
    done, standin, _ = crawl(
        tmp_path, n_features=300, concurrency=1, max_attempts=2, serve={"nan_features": {(MODEL, SOURCE, 40)}}
    )
    assert [batch for batch in asked(standin) if batch == [40]] == [[40], [40]], "twice, as --max-attempts says"
    assert done.failed() == [40]


# -- the pieces --------------------------------------------------------------------------------------------------------


def make_outage(**knobs: Any) -> Outage:
    return Outage(now=now, sleep=asyncio.sleep, jitter=lambda: 1.0, **{"max_total_s": 120.0} | knobs)


class Server:
    """Is well from the moment `well_at_s` on; notes when it was asked."""

    def __init__(self, well_at_s: float) -> None:
        self.well_at_s = well_at_s
        self.asked_at: list[float] = []

    async def probe(self) -> RequestError | None:
        self.asked_at.append(round(now(), 3))
        return None if now() >= self.well_at_s else ServerError("down", status=500)


def test_one_asks_ever_more_rarely_and_all_get_the_finding() -> None:
    async def main() -> None:
        outage, server = make_outage(), Server(40)
        waiting = asyncio.create_task(outage.wait())
        findings = await asyncio.gather(*(outage.settle(server.probe) for _ in range(5)))
        assert findings == [False] * 5
        assert server.asked_at == [0, 1, 3, 7, 15, 23, 31, 39, 47]
        await waiting
        assert not outage.is_on and await outage.settle(server.probe)

    run(main())


def test_a_server_that_is_well_is_asked_once_and_nobody_waits() -> None:
    async def main() -> None:
        outage, server = make_outage(), Server(0)
        assert await outage.settle(server.probe) and server.asked_at == [0]
        await outage.wait()

    run(main())


def test_while_it_is_down_all_wait_and_when_it_is_given_up_all_hear_it() -> None:
    async def main() -> None:
        outage, server = make_outage(max_total_s=10), Server(math.inf)
        results = await asyncio.gather(*(outage.settle(server.probe) for _ in range(3)), return_exceptions=True)
        assert all(isinstance(result, UnreachableError) and not result.retry for result in results)
        assert now() == pytest.approx(10, abs=0.01) and len(server.asked_at) == 5
        await outage.wait()

    run(main())


def test_one_who_asks_and_is_cancelled_leaves_it_to_the_next() -> None:
    async def main() -> None:
        outage, server = make_outage(), Server(5)
        first, second = (asyncio.create_task(outage.settle(server.probe)) for _ in range(2))
        await asyncio.sleep(2)
        first.cancel()
        assert await second is False
        assert now() < 12

    run(main())


def test_sizes_shrink_at_once_and_grow_after_a_few_successes_ever_more_rarely() -> None:
    size = Size(100)
    size.shrink(50)
    tried = []
    for _ in range(40):
        size.success(size.now)
        if size.now == 100:
            tried.append(len(tried))
            size.shrink(50)
    assert size.now == 50 and 3 <= len(tried) <= 5
    for _ in range(200):
        size.success(size.now)
    assert size.now == 100
    size.shrink(50)
    size.success(50)
    size.success(50)
    assert size.now == 100, "once it had lasted, two successes are enough again"


def test_a_success_of_fewer_than_that_says_nothing_of_the_size() -> None:
    size = Size(100)
    size.shrink(25)
    for _ in range(50):
        size.success(7)
    assert size.now == 25


# -- the wall ----------------------------------------------------------------------------------------------------------


def test_the_wall_is_sat_out_until_the_full_hour_and_then_everything_comes(tmp_path: Path) -> None:
    async def main() -> None:
        world = make_world(2100)
        async with Standin(world, lean=True, clock=now, wall=lambda: A_FULL_HOUR + now(), api_limit=20) as standin:
            await asyncio.sleep(3300)  # five minutes before the full hour
            done = await downloading(standin, tmp_path, "batch", **API)
            assert (done.status, done.summary.successful) == (0, 2100)
            served = [record.time_s for record in standin.requests if record.status == 200]
            assert len([t for t in served if t < 3600]) == 20, "the limit"
            # It comes back within the time that chance may add, and not after the pauses of 60, 120 and 240 s.
            assert 3600 <= served[-1] <= 3600 + 21
            assert done.summary.rate_limited <= 8 + 3

    run(main())
