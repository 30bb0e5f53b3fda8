"""Watching jobs: what the display is told, over broken streams and restarts, until all have ended."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fake_service import FakeService, job, problem

from saefetch.errors import RefusedError, UsageError
from saefetch.service.client import Client, Job
from saefetch.service.watch import AWAY, Watched, plan_of, watch
from saefetch.terminal.progress import Display

ONE, TWO = (f"gemma-scope-2b-pt-res-canonical layer_{number}/width_16k/canonical" for number in (1, 2))


class Diary(Display):
    """Writes down what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[Any] = []
        self.pauses: set[str] = set()

    def begin(self, name: str, total: int, done: int = 0, *, line: str = "", short: str = "") -> None:
        self.lines.append(("begin", name, total, done, line, short))

    def advance(self, name: str, done: int, text: str = "") -> None:
        self.lines.append((name, done))

    def end(self, name: str, line: str = "") -> None:
        self.lines.append(("end", name))

    def say(self, line: str) -> None:
        self.lines.append(line)

    def tick(self, words: Any = (), pause: str = "") -> None:
        self.pauses.add(pause)
        self.words = words


def watching(service: FakeService, *ids: str, diary: Diary | None = None) -> list[Job]:
    async def at_once(_: float) -> None:
        await asyncio.sleep(0.001)

    async def main() -> list[Job]:
        async with Client(service.url) as client:
            jobs = [await client.job(number) for number in ids]
            return await watch(client, jobs, diary or Diary(), at_once)

    return asyncio.run(main())


def test_jobs_are_shown_from_their_beginning_to_their_end_by_events() -> None:
    diary = Diary()
    with FakeService(job(1), job(2)) as service:

        def happen() -> None:
            news = [job(1, "running"), job(1, "running", 100), job(3, "running", 5), job(1, "running", 600)]
            news += [job(1, "done"), job(2, "running", 0), job(2, "failed", 10, error="refused: 403")]
            service.events += [("job", each) for each in news]  # and whoever asks for a job hears of none of it

        service.streams = [happen, lambda: None]
        ended = watching(service, "1", "2", diary=diary)
    assert [each["state"] for each in ended] == ["done", "failed"]
    assert diary.lines == [
        ("begin", ONE, 1000, 0, "1,000 features", "layer_1/width_16k/canonical"),
        (ONE, 100),
        (ONE, 600),
        ("end", ONE),
        ("begin", TWO, 1000, 0, "1,000 features", "layer_2/width_16k/canonical"),
        ("end", TWO),
    ]


def test_a_stream_that_breaks_is_resumed_and_nothing_falls_between() -> None:
    diary = Diary()
    with FakeService(job(1, "running", 10)) as service:
        missed = job(1, "running", 700)

        def second() -> None:
            service.jobs["1"] = missed  # its event is lost; the job itself is asked for

        service.streams = [
            lambda: service.tell(job(1, "running", 20)),
            second,
            lambda: service.tell(job(1, "done")),
            lambda: None,
        ]
        watching(service, "1", diary=diary)
        resumed = [asked.headers.get("last-event-id") for asked in service.asked if asked.path == "/v1/events"]
    assert resumed[:2] == [None, "1"]
    assert (ONE, 700) in diary.lines and diary.lines[-1] == ("end", ONE)


def test_a_service_that_is_restarted_is_waited_for() -> None:
    diary = Diary()
    with FakeService(job(1, "running", 10)) as service:
        n_asked = 0

        def closing(request: Any) -> Any:
            nonlocal n_asked
            if request.path != "/v1/events":
                return None
            n_asked += 1
            if n_asked == 1:
                request.transport.abort()  # as kill -9 leaves it
            elif n_asked < 4:
                return problem(503, "starting")
            else:
                service.tell(job(1, "done"))
            return None

        service.answer = closing
        (ended,) = watching(service, "1", diary=diary)
    assert ended["state"] == "done" and n_asked == 4


def test_what_ended_before_is_told_and_nothing_is_waited_for() -> None:
    with FakeService(job(1, "done"), job(2, "cancelled")) as service:
        assert [each["state"] for each in watching(service, "1", "2")] == ["done", "cancelled"]
        assert not any(asked.path == "/v1/events" for asked in service.asked)


@pytest.mark.parametrize(("status", "error"), [(401, RefusedError), (404, UsageError)])
def test_a_refusal_ends_the_watching(status: int, error: type[Exception]) -> None:
    with FakeService(job(1, "running")) as service:
        service.answer = lambda request: problem(status, "no") if request.path == "/v1/events" else None
        with pytest.raises(error):
            watching(service, "1")


def test_an_older_event_does_not_wake_a_job_that_has_ended() -> None:
    diary = Diary()
    watched = Watched([job(1, "running", 10)], diary)
    watched.hear(job(1, "done"))
    watched.hear(job(1, "running", 500))
    watched.hear(job(9, "running", 500))
    assert watched.open_ids == [] and diary.lines[1:] == [("end", ONE)]


def test_who_holds_a_waiting_jobs_sae_is_said_once() -> None:
    diary = Diary()
    watched = Watched([job(1)], diary)
    for _ in range(3):
        watched.hear(job(1, error="another process, 4711, is downloading this SAE"))
    watched.hear(job(1, "running", 0))
    watched.hear(job(1, error="another process, 4712, is downloading this SAE"))
    held = [line for line in diary.lines if isinstance(line, str)]
    assert held == [f"{ONE}: waits: another process, {pid}, is downloading this SAE" for pid in (4711, 4712)]


def test_the_figures_are_those_that_the_service_tells() -> None:
    diary = Diary()
    watched = Watched([job(1, "running", 10, requests=3, retries=1), job(2, "done"), job(3)], diary)
    watched.pause = AWAY
    watched.tick()
    assert diary.words == ["15 requests", "1 retry"] and diary.pauses == {AWAY}
    plan = plan_of(watched.jobs)
    assert (plan.unit, plan.n_items, plan.total) == ("features", 3, 2000)
