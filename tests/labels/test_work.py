"""Who gets a slot, and what becomes of the others when one chunk fails or everything is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saefetch.downloading.work import Slots, work_off
from saefetch.errors import ServerError, StoreError
from saefetch.store.answers import Answers


class Chunks:
    """A source whose chunks are numbers; `fetch` brings the number as a missing feature and then does `then`."""

    def __init__(self, then: Callable[[int], Awaitable[None]]) -> None:
        self._then = then
        self.begun: list[int] = []
        self.now = 0
        self.most = 0

    async def plan(self) -> list[int]:
        return []

    async def fetch(self, chunk: int) -> AsyncIterator[Answers]:
        self.begun.append(chunk)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            yield Answers(missing=[chunk])
            await self._then(chunk)
        finally:
            self.now -= 1


class Committed(list[int]):
    """What was committed, in order; a commit takes a few turns of the loop, as a real one does."""

    async def __call__(self, answers: Answers) -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        self.extend(answers.missing)


def unheard(_: Answers) -> None: ...


async def at_once(_: int) -> None:
    await asyncio.sleep(0)


async def turns(n: int = 20) -> None:
    for _ in range(n):
        await asyncio.sleep(0)


# -- slots ------------------------------------------------------------------------------------------------------------


def test_a_free_slot_goes_to_the_lowest_priority_and_then_to_the_first_that_came() -> None:
    async def order() -> list[str]:
        slots, served = Slots(1), list[str]()

        async def want(priority: int, name: str) -> None:
            async with slots.hold(priority):
                served.append(name)
                await asyncio.sleep(0)

        async with slots.hold(0):
            wants = [(2, "c1"), (1, "b1"), (2, "c2"), (0, "a1"), (1, "b2"), (0, "a2")]
            tasks = [asyncio.create_task(want(*each)) for each in wants]
            await turns()
            assert served == []
        await asyncio.gather(*tasks)
        return served

    assert asyncio.run(order()) == ["a1", "a2", "b1", "b2", "c1", "c2"]


def test_a_newcomer_does_not_overtake_those_who_wait() -> None:
    async def order() -> list[str]:
        slots, served = Slots(1), list[str]()

        async def want(name: str) -> None:
            async with slots.hold(0):
                served.append(name)
                await asyncio.sleep(0)

        async with slots.hold(0):
            first = asyncio.create_task(want("first"))
            await turns()
        # The slot is handed over, not freed: whoever asks in this very turn comes after.
        await asyncio.gather(want("second"), first)
        return served

    assert asyncio.run(order()) == ["first", "second"]


def test_a_slot_handed_to_someone_who_is_cancelled_is_passed_on() -> None:
    async def run() -> None:
        slots, got = Slots(1), list[str]()

        async def want(name: str) -> None:
            async with slots.hold(0):
                got.append(name)

        async with slots.hold(0):
            cancelled, next_one = (asyncio.create_task(want(name)) for name in ("cancelled", "next"))
            await turns()
        cancelled.cancel()  # after the hand-over, before it ran
        await asyncio.wait_for(next_one, 60)
        assert got == ["next"]
        async with asyncio.timeout(60), slots.hold(0):
            pass

    asyncio.run(run())


def test_one_who_is_cancelled_while_waiting_costs_no_slot() -> None:
    async def run() -> None:
        slots = Slots(2)
        async with slots.hold(0), slots.hold(0):
            waiting = asyncio.create_task(slots.hold(0).__aenter__())
            await turns()
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        async with asyncio.timeout(60), slots.hold(0), slots.hold(0):
            pass

    asyncio.run(run())


def test_an_error_in_the_block_gives_the_slot_back() -> None:
    async def run() -> None:
        slots = Slots(1)
        with pytest.raises(ZeroDivisionError):
            async with slots.hold(0):
                raise ZeroDivisionError
        async with asyncio.timeout(60), slots.hold(0):
            pass

    asyncio.run(run())


@given(
    n=st.integers(1, 4),
    steps=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.booleans()), max_size=25),
)
def test_never_more_than_n_hold_and_no_slot_is_ever_lost(n: int, steps: list[tuple[int, int, bool]]) -> None:
    async def run() -> None:
        slots, holding = Slots(n), [0, 0]

        async def want(priority: int, n_turns: int) -> None:
            async with slots.hold(priority):
                holding[0] += 1
                holding[1] = max(holding)
                try:
                    await turns(n_turns)
                finally:
                    holding[0] -= 1

        tasks = []
        for priority, n_turns, cancel in steps:
            tasks.append(asyncio.create_task(want(priority, n_turns)))
            await turns(n_turns)
            if cancel:
                tasks[len(tasks) // 2].cancel()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)
        assert holding[1] <= n
        async with asyncio.timeout(60):
            for _ in range(n):
                await slots.hold(0).__aenter__()

    asyncio.run(run())


# -- working off ------------------------------------------------------------------------------------------------------


def test_every_chunk_is_fetched_once_and_committed_and_never_more_than_the_slots_at_a_time() -> None:
    source, committed = Chunks(at_once), Committed()
    asyncio.run(work_off(source, list(range(100)), unheard, committed, Slots(7), 0))
    assert source.begun == list(range(100))
    assert sorted(committed) == list(range(100))
    assert source.most == 7


def test_no_chunks_are_no_work() -> None:
    asyncio.run(work_off(Chunks(at_once), [], unheard, Committed(), Slots(3), 0))


def test_the_first_job_is_served_before_the_later_ones_and_they_use_what_it_leaves() -> None:
    async def run() -> tuple[list[str], int]:
        slots, order = Slots(2), list[str]()

        def named(name: str) -> Chunks:
            async def note(_: int) -> None:
                order.append(name)
                await asyncio.sleep(0)

            return Chunks(note)

        await asyncio.gather(
            *(
                work_off(named(name), list(range(n)), unheard, Committed(), slots, priority)
                for name, n, priority in (("late", 6, 1), ("early", 6, 0))
            )
        )
        return order, len(order)

    order, n = asyncio.run(run())
    assert n == 12
    # The late job came first and has the two slots for its first chunks; then it waits until the early one has no more.
    assert order[:2] == ["late", "late"]
    assert order[2:8] == ["early"] * 6
    assert order[8:] == ["late"] * 4


def test_a_chunk_that_fails_stops_the_others_and_all_that_came_is_committed() -> None:
    async def then(chunk: int) -> None:
        if chunk == 3:
            await asyncio.sleep(0)
            raise ServerError("gone", status=500)
        await asyncio.sleep(3600)

    source, committed = Chunks(then), Committed()
    with pytest.raises(ServerError, match="gone"):
        asyncio.run(asyncio.wait_for(work_off(source, list(range(50)), unheard, committed, Slots(4), 0), 60))
    assert sorted(committed) == source.begun == [0, 1, 2, 3]


def test_a_commit_that_fails_stops_the_run() -> None:
    async def commit(answers: Answers) -> None:
        if 5 in answers.missing:
            raise StoreError("the disk is full")

    source = Chunks(at_once)
    with pytest.raises(StoreError, match="full"):
        asyncio.run(work_off(source, list(range(1000)), unheard, commit, Slots(2), 0))
    assert len(source.begun) < 12


@pytest.mark.parametrize("n_slots", [1, 4])
def test_when_cancelled_what_had_arrived_is_committed_before_it_ends(n_slots: int) -> None:
    async def run() -> tuple[Chunks, Committed]:
        async def then(chunk: int) -> None:
            if chunk >= 10:
                await asyncio.sleep(3600)

        source, committed = Chunks(then), Committed()
        task = asyncio.create_task(work_off(source, list(range(100)), unheard, committed, Slots(n_slots), 0))
        await turns(500)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return source, Committed(committed)  # a copy: what comes later does not count

    source, committed = asyncio.run(run())
    assert sorted(committed) == source.begun == list(range(10 + n_slots))


def test_a_commit_under_way_when_the_run_is_cancelled_is_finished_first() -> None:
    async def run() -> list[str]:
        said, may_go_on = list[str](), asyncio.Event()

        async def commit(_: Answers) -> None:
            said.append("begun")
            await may_go_on.wait()
            said.append("committed")

        task = asyncio.create_task(work_off(Chunks(at_once), [1], unheard, commit, Slots(1), 0))
        await turns()
        task.cancel()
        await turns()
        assert not task.done()
        may_go_on.set()
        await asyncio.gather(task, return_exceptions=True)
        return [*said, "ended"]

    assert asyncio.run(run()) == ["begun", "committed", "ended"]


def test_a_chunk_that_brought_nothing_is_not_committed() -> None:
    class Nothing(Chunks):
        async def fetch(self, chunk: int) -> AsyncIterator[Answers]:
            self.begun.append(chunk)
            yield Answers()

    source, committed = Nothing(at_once), list[Answers]()

    async def commit(answers: Answers) -> None:
        committed.append(answers)

    asyncio.run(work_off(source, [1, 2], unheard, commit, Slots(1), 0))
    assert (source.begun, committed) == ([1, 2], [])


def test_each_answer_is_heard_as_it_comes_and_a_chunk_is_one_commit() -> None:
    said = list[str]()

    class Twice(Chunks):
        async def fetch(self, chunk: int) -> AsyncIterator[Answers]:
            for index in (chunk, chunk + 1):
                yield Answers(missing=[index])
                said.append(f"after {index}")

    async def commit(answers: Answers) -> None:
        said.append(f"committed {answers.missing}")

    asyncio.run(work_off(Twice(at_once), [10], lambda a: said.append(f"heard {a.missing}"), commit, Slots(1), 0))
    assert said == ["heard [10]", "after 10", "heard [11]", "after 11", "committed [10, 11]"]
