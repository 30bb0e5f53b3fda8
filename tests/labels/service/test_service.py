"""The service without its face: jobs are submitted, worked off by the downloader's code, cancelled and tried again."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from command import SUMMARY_KEYS
from harness import RELEASE, SAE_ID, make_world, settings_for

from saefetch.errors import LockedError, StoreError, UsageError
from saefetch.files.lock import lock_folder
from saefetch.service.errors import ClosingError, ConflictError, NoSuchJobError
from saefetch.service.service import Service
from saefetch.service.shapes import ENDED, Event, JobObject
from saefetch.service.upkeep import Upkeep
from standin import Fault, Respond, Standin, World

N = 60
PATTERN = "layer_[0-4]/width_16k/canonical"
ONE: dict[str, object] = {"sae_release": RELEASE, "sae_id": SAE_ID, "num_features": N}
FIVE: dict[str, object] = ONE | {"sae_id": PATTERN}


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 60))


@pytest.fixture
def standin() -> Iterator[Standin]:
    world = World()
    for layer in (0, 1, 2, 3, 4, 16):
        world.add_source("gemma-2-2b", f"{layer}-gemmascope-res-16k", N)
    with Standin(world) as standin:
        yield standin


@pytest.fixture
def serve(standin: Standin, tmp_path: Path) -> Callable[..., Service]:
    def make(**knobs: Any) -> Service:
        more = {name: knobs.pop(name) for name in ("n_jobs", "now") if name in knobs}
        return Service(settings_for(standin.api_url, standin.export_url, tmp_path / "sae", **knobs), **more)

    return make


async def ended(service: Service, *jobs: JobObject) -> list[JobObject]:
    """Wait until the jobs have ended."""
    events = service.events(0)
    async for _ in events:
        now = [service.job(job["id"]) for job in jobs]
        if all(job["state"] in ENDED for job in now):
            return now
    raise AssertionError("the events ended before the jobs")


async def state_is(service: Service, job: JobObject, state: str) -> JobObject:
    async for _ in service.events(0):
        now = service.job(job["id"])
        if now["state"] == state:
            return now
    raise AssertionError("the events ended")


def test_a_job_ends_with_the_keys_of_download(serve: Callable[..., Service], tmp_path: Path) -> None:
    async def work() -> None:
        async with serve() as service:
            (job,), is_new = service.submit(ONE)
            assert is_new and job["state"] == "queued" and job["successful"] is None and job["started_at"] is None
            (job,) = await ended(service, job)
            assert job["state"] == "done" and job["error"] is None
            assert job["successful"] == job["total_features"] == job["done"] == N
            assert set(SUMMARY_KEYS) <= set(job)
            assert service.counts()["done"] == 1 and service.features() == {"successful": N, "missing": 0, "failed": 0}

    run(work())
    (labels,) = tmp_path.glob("sae/*/*/feature_labels.json")
    assert json.loads(labels.read_bytes())["stats"]["successful"] == N


def test_a_pattern_is_many_jobs_and_the_same_request_twice_is_one(serve: Callable[..., Service]) -> None:
    async def work() -> None:
        async with serve() as service:
            jobs, is_new = service.submit(FIVE)
            again, is_new_again = service.submit(FIVE)
            assert is_new and not is_new_again and [job["id"] for job in again] == [job["id"] for job in jobs]
            assert len(jobs) == 5 and len({job["sae_id"] for job in jobs}) == 5
            with pytest.raises(ConflictError, match="other options") as refusal:
                service.submit(FIVE | {"source": "batch"})
            assert refusal.value.job_id == jobs[0]["id"]
            assert {job["state"] for job in await ended(service, *jobs)} == {"done"}
            anew, is_new = service.submit(ONE | {"sae_id": "layer_0/width_16k/canonical"})
            assert is_new and anew[0]["id"] not in {job["id"] for job in jobs}

    run(work())


def test_a_clash_of_one_sae_queues_none_of_a_pattern(serve: Callable[..., Service]) -> None:
    async def work() -> None:
        async with serve(requests_per_second=0.001) as service:
            service.submit(ONE | {"sae_id": "layer_3/width_16k/canonical", "source": "batch"})
            with pytest.raises(ConflictError):
                service.submit(FIVE)
            assert len(service.jobs()[0]) == 1

    run(work())


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([], "expected a JSON object"),
        ({"sae_ids": "x"}, "closest known one is 'sae_id'"),
        ({"sae_id": 3}, "sae_id '3': expected a string"),
        ({"num_features": True}, "num_features 'True': expected a whole number"),
        ({"num_features": 0}, "must be from 1 to"),
        ({"refresh": "yes"}, "expected true or false"),
        ({"source": "ftp"}, "expected one of auto, export, batch, feature"),
        ({"sae_release": RELEASE, "sae_id": "layer_99/*"}, "maps no SAE"),
        ({"sae_release": "../../etc", "sae_id": "passwd"}, "not a valid name"),
        (
            {"neuronpedia_id": "gemma-2-2b/16-gemmascope-res-16k", "sae_release": RELEASE, "sae_id": "layer_*"},
            "pattern",
        ),
        ({"neuronpedia_id": "a/../b"}, "not a valid name"),
        ({"sae_release": ""}, "--sae-release '' is not a valid name"),
        ({"sae_id": ""}, "--sae-id '' is not a valid name"),
    ],
)
def test_a_wrong_body_names_its_key(serve: Callable[..., Service], body: object, words: str) -> None:
    async def work() -> None:
        async with serve() as service:
            with pytest.raises(UsageError) as refusal:
                service.submit(body)
            assert words in str(refusal.value) and service.jobs()[0] == []

    run(work())


def test_a_cancelled_job_keeps_what_it_fetched_and_can_be_tried_again(
    serve: Callable[..., Service], standin: Standin
) -> None:
    async def work() -> None:
        async with serve(source="feature", requests_per_second=10, concurrency=1) as service:
            (job,), _ = service.submit(ONE)
            async for _ in service.events(0):
                if (service.job(job["id"])["done"] or 0) > 0:
                    break
            job = await service.cancel(job["id"])
            assert job["state"] == "cancelled" and 0 < (job["successful"] or 0) < N and job["failed"] == 0
            with pytest.raises(ConflictError, match="has ended"):
                await service.cancel(job["id"])
            n_before, n_got = len(standin.requests), job["successful"]
            assert service.retry(job["id"])["state"] == "queued"
            with pytest.raises(ConflictError, match="only failed and cancelled"):
                service.retry(job["id"])
        async with serve(source="feature") as service:
            (job,) = await ended(service, job)
            assert job["state"] == "done" and job["resumed"] >= (n_got or 0)  # type: ignore[operator]
            assert len(standin.requests) - n_before <= N - (n_got or 0) + 1

    run(work())


def test_a_job_that_waits_in_the_queue_is_cancelled_at_once(serve: Callable[..., Service]) -> None:
    async def work() -> None:
        async with serve(n_jobs=1, requests_per_second=0.001) as service:
            jobs, _ = service.submit(FIVE)
            job = await service.cancel(jobs[4]["id"])
            assert job["state"] == "cancelled" and job["started_at"] is None

    run(work())


def test_stopping_puts_running_jobs_back_and_the_next_service_goes_on(serve: Callable[..., Service]) -> None:
    async def work() -> None:
        async with serve(source="feature", requests_per_second=20, concurrency=1) as service:
            jobs, _ = service.submit(FIVE)
            await state_is(service, jobs[0], "running")
            service.close()
            with pytest.raises(ClosingError):
                service.submit(ONE)
            with pytest.raises(ClosingError):
                service.retry(jobs[0]["id"])
        async with serve() as service:
            assert {job["state"] for job in service.jobs()[0]} <= {"queued", "running"}
            assert {job["state"] for job in await ended(service, *jobs)} == {"done"}

    run(work())


def test_a_second_service_of_the_folder_is_refused_with_the_pid_of_the_first(
    serve: Callable[..., Service], tmp_path: Path
) -> None:
    async def work() -> None:
        with lock_folder(tmp_path):
            pass
        async with serve():
            with pytest.raises(LockedError, match=r"pid \d+\) is the service of this folder"):
                async with serve():
                    pass

    run(work())


def test_a_job_whose_sae_a_download_holds_waits_and_takes_no_place(
    serve: Callable[..., Service], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saefetch.service.runner.LOOK_AGAIN_S", 0.05)
    folder = tmp_path / "sae" / RELEASE / "layer_0_width_16k_canonical"
    folder.mkdir(parents=True)

    async def work() -> None:
        async with serve(n_jobs=1) as service:
            with lock_folder(folder):
                jobs, _ = service.submit(FIVE)
                await ended(service, *jobs[1:])
                held = service.job(jobs[0]["id"])
                assert held["state"] == "queued" and "another process (pid " in str(held["error"])
            (job,) = await ended(service, jobs[0])
            assert job["state"] == "done" and job["error"] is None

    run(work())


def test_a_refusal_of_the_server_is_a_failed_job_with_its_words(serve: Callable[..., Service]) -> None:
    async def work() -> None:
        async with serve() as service:
            (job,), _ = service.submit({"neuronpedia_id": "gemma-2-2b/99-nobody-knows", "num_features": 10})
            (job,) = await ended(service, job)
            assert job["state"] == "failed" and "knows no feature" in str(job["error"]) and not job["done"]

    run(work())


def test_features_that_fail_make_a_failed_job_with_counts_and_a_retry_gets_just_those(tmp_path: Path) -> None:
    async def work(standin: Standin) -> None:
        knobs = {"source": "feature", "max_attempts": 1}
        settings = settings_for(standin.api_url, standin.export_url, tmp_path, **knobs)
        async with Service(settings) as service:
            (job,), _ = service.submit(ONE)
            (job,) = await ended(service, job)
            assert job["state"] == "failed" and "1 features failed after all retries" in str(job["error"])
            assert (job["successful"], job["failed"], job["total_features"]) == (N - 1, 1, N)
            n_before = len(standin.requests)
            service.retry(job["id"])
            (job,) = await ended(service, job)
            assert job["state"] == "done" and len(standin.requests) == n_before + 1

    faults = [Fault(Respond(500), match="/7", times=1)]
    with Standin(make_world(N), faults=faults) as standin:
        run(work(standin))


def test_pages_of_jobs_hold_each_job_once(serve: Callable[..., Service]) -> None:
    async def work() -> None:
        async with serve(requests_per_second=0.001) as service:
            service.submit(FIVE)
            await service.cancel("5")
            seen, cursor = list[str](), None
            while True:
                jobs, cursor = service.jobs(None, 2, cursor)
                seen += [job["id"] for job in jobs]
                if cursor is None:
                    break
            assert seen == ["5", "4", "3", "2", "1"]
            assert [job["id"] for job in service.jobs("cancelled", 10, None)[0]] == ["5"]
            for wrong in (("gone", 1, None), (None, 0, None), (None, 1001, None), (None, 1, "x")):
                with pytest.raises(UsageError):
                    service.jobs(*wrong)
            for unknown in ("6", "-1", "x", "1" * 30):
                with pytest.raises(NoSuchJobError):
                    service.job(unknown)

    run(work())


async def take(events: AsyncIterator[Event], until: Callable[[Event], bool]) -> list[Event]:
    taken = []
    async for event in events:
        taken.append(event)
        if until(event):
            break
    return taken


def test_events_tell_every_change_in_order_and_go_on_after_a_restart(serve: Callable[..., Service]) -> None:
    def is_done(event: Event) -> bool:
        return event["data"] is not None and event["data"]["state"] == "done"

    async def work() -> None:
        async with serve() as service:
            service.submit(ONE)
            first = await take(service.events(0), is_done)
            states = [event["data"]["state"] for event in first if event["data"]]
            assert [state for n, state in enumerate(states) if state not in states[:n]] == ["queued", "running", "done"]
            ids = [event["id"] for event in first]
            assert ids == sorted(set(ids))
        async with serve() as service:
            assert (await take(service.events(ids[0]), is_done)) == first[1:]
            service.submit(ONE | {"sae_id": "layer_2/width_16k/canonical"})
            more = await take(service.events(ids[-1]), is_done)
            assert more[0]["id"] > ids[-1]

    run(work())


def test_a_reader_who_comes_too_late_gets_a_reset_and_every_job_once(
    serve: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saefetch.service.table.KEPT_EVENTS", 4)

    async def work() -> None:
        async with serve(requests_per_second=0.001) as service:
            service.submit(FIVE)
            for last_id in (0, 10**9):
                events = await take(service.events(last_id), lambda event: event["id"] == 5 or event["id"] > 20)
                latest = service.jobs()[0]
                assert [event["kind"] for event in events] == ["reset"] + ["job"] * 5
                assert [event["data"]["id"] for event in events if event["data"]] == [j["id"] for j in latest][::-1]
                assert len({event["id"] for event in events}) == 2

    run(work())


def test_a_month_of_looks_costs_the_listings_until_something_changes(
    serve: Callable[..., Service], standin: Standin
) -> None:
    day = datetime(2026, 1, 1, tzinfo=UTC)

    def now() -> str:
        return day.strftime("%Y-%m-%dT%H:%M:%SZ")

    async def work() -> None:
        nonlocal day
        async with serve(now=now) as service:
            (job,), _ = service.submit(ONE)
            await ended(service, job)
            day = datetime.now(UTC) + timedelta(minutes=1)  # stores are dated by the real clock
            upkeep = Upkeep(service, timedelta(days=7), now=now)
            n_looks, n_requests = 0, []
            for _ in range(30):
                before = len(standin.requests)
                await upkeep.look(timedelta(days=7))
                jobs, _ = service.jobs()
                if len(jobs) - 1 > n_looks:
                    n_looks = len(jobs) - 1
                    (looked,) = await ended(service, jobs[0])
                    assert looked["state"] == "done" and looked["refresh"]
                    n_requests.append(len(standin.requests) - before)
                else:
                    assert len(standin.requests) == before
                day += timedelta(days=1)
            assert n_looks == 4 and n_requests == [2, 2, 2, 2]

    run(work())


def test_a_foreign_database_is_left_as_it_is(serve: Callable[..., Service], tmp_path: Path) -> None:
    async def work() -> None:
        (tmp_path / "sae").mkdir()
        with sqlite3.connect(tmp_path / "sae" / "jobs.sqlite") as foreign:
            foreign.execute("CREATE TABLE jobs (mine)")
        before = (tmp_path / "sae" / "jobs.sqlite").read_bytes()
        with pytest.raises(StoreError, match="not a job table"):
            async with serve():
                pass
        assert (tmp_path / "sae" / "jobs.sqlite").read_bytes() == before

    run(work())
