"""The real command, killed, interrupted, run twice and run again: nothing is lost, nothing is fetched twice."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aftermath import Asked, Committed, assert_only_the_gap_was_fetched, assert_whole, export_etags, published
from command import ends_soon
from harness import EXPORT_PREFIX, MODEL, NEURONPEDIA_ID, RELEASE, SAE_ID, SOURCE, download, make_world, n_asked, plant

from saefetch.decode import Rows
from saefetch.inventory import progress
from saefetch.names.identity import sae_folder
from saefetch.store.answers import Answers
from saefetch.store.store import Store
from standin import Fault, Gone, NoAnswer, Respond, Stall, Standin, TooMany, World

N_FEATURES = 400
SLOW_S = 0.04
PROMPT = {"features_batch": 20, "explanations_batch": 20, "lean": True}


def serve(world: World | None = None, **knobs: Any) -> Standin:
    return Standin(world or make_world(N_FEATURES, missing={3}, absent_from_export={11}), **PROMPT | knobs)


class Command:
    """`python -m saefetch ...` in a process of its own, its output in files."""

    numbers = itertools.count()

    def __init__(self, folder: Path, *arguments: str) -> None:
        stem = folder / f"command-{next(self.numbers)}"
        self._out, self._err = stem.with_suffix(".out"), stem.with_suffix(".err")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("SAEFETCH_", "NEURONPEDIA_"))}
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "saefetch", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=folder,
                env=environment,
            )

    @property
    def out(self) -> str:
        return self._out.read_text("utf-8")

    @property
    def err(self) -> str:
        return self._err.read_text("utf-8")

    def wait(self, within_s: float = 120.0) -> int:
        """Return the exit status; a process that takes longer is killed, and the test fails."""
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {within_s} s; it said: {self.err}") from None
        finally:
            self.process.kill()
            self.process.wait()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


@contextmanager
def running(folder: Path, standin: Standin, source: str, *more: str) -> Iterator[Command]:
    """Run `saefetch download` on `folder / "data"`."""
    urls = ["--api-url", standin.api_url, "--export-url", standin.export_url, "--data-dir", str(folder / "data")]
    pace = ["--requests-per-second", "10000", "--concurrency", "2", "--batch-size", "10"]
    width = [] if "--sae-id" in more else ["--num-features", str(N_FEATURES)]
    command = Command(folder, "download", "--source", source, *urls, *pace, *width, *more)
    try:
        yield command
    finally:
        command.process.kill()
        command.process.wait()


def wait_until(condition: Callable[[], bool], within_s: float = 120.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.005)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What an undisturbed download publishes, by source."""
    results = {}
    with serve() as standin:
        for source in ("export", "batch"):
            data_dir = tmp_path_factory.mktemp(source)
            download(standin, data_dir, source)
            results[source] = published(data_dir)
    return results


@pytest.mark.parametrize("source", ["export", "batch"])
def test_killing_it_again_and_again_loses_nothing_and_fetches_nothing_twice(
    tmp_path: Path, whole: dict[str, dict[str, Any]], source: str
) -> None:
    draw = random.Random(source)
    data_dir = tmp_path / "data"
    survived = Committed({}, set())
    for _ in range(3):
        with serve(latency_s=SLOW_S) as standin, running(tmp_path, standin, source) as command:
            wait_until(lambda standin=standin: len(standin.requests) > 2)
            time.sleep(draw.uniform(0, 0.5))
            command.send(signal.SIGKILL)
            command.wait()
            asked = Asked.of(standin)
        assert not set(asked.objects) & survived.etags.keys()
        assert not set(asked.indices) & survived.closed
        before, survived = survived, Committed.of(data_dir, N_FEATURES)
        assert before.etags.items() <= survived.etags.items()
        assert before.closed <= survived.closed
    assert len(survived.closed) + len(survived.etags) > 0
    with serve() as standin:
        assert download(standin, data_dir, source, batch_size=10).status == 0
        assert_only_the_gap_was_fetched(standin, source, survived)
    assert_whole(data_dir, whole[source])


def assert_stopped(command: Command, number: signal.Signals) -> str:
    """It ends soon, with the shell's status for that signal; return the command that resumes."""
    with ends_soon(command.process):
        command.send(number)
        assert command.wait() == 128 + number
    last = command.err.splitlines()[-1]
    assert "Traceback" not in command.err
    assert "To resume: " in last
    return last.partition("To resume: ")[2]


@pytest.mark.parametrize(("source", "number"), [("export", signal.SIGINT), ("batch", signal.SIGTERM)])
def test_an_interrupted_run_says_the_command_that_finishes_it(
    tmp_path: Path, whole: dict[str, dict[str, Any]], source: str, number: signal.Signals
) -> None:
    with serve(latency_s=SLOW_S) as standin, running(tmp_path, standin, source, "--json") as command:
        wait_until(lambda: len(standin.requests) > 12)
        resume = assert_stopped(command, number)
        summary = json.loads(command.out)
        folder = sae_folder(tmp_path / "data", RELEASE, SAE_ID)
        assert 0 < summary["successful"] < N_FEATURES
        assert summary["successful"] == progress(folder).successful or source == "export"
        assert {path.name for path in folder.iterdir()} <= {"labels.sqlite"}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        shell = subprocess.run(["sh", "-c", resume], cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True)
        assert shell.returncode == 0
        # An object of the export that only adds explanations counts as fetching its features.
        assert json.loads(shell.stdout)["resumed"] >= (summary["successful"] if source == "batch" else 1)
    assert_whole(tmp_path / "data", whole[source])


@pytest.mark.parametrize(
    ("fault", "source"),
    [
        (Fault(NoAnswer(), "POST", times=None, skip=3), "batch"),
        (Fault(Stall(), "features/batch-1", times=None), "export"),
        (Fault(TooMany(retry_after=600), "POST", skip=3), "batch"),
        (Fault(TooMany(), "features/batch-2", times=None), "export"),
    ],
    ids=["no-answer", "stall", "429-with-retry-after", "429"],
)
def test_a_signal_ends_it_soon_while_it_waits_for_the_server(tmp_path: Path, fault: Fault, source: str) -> None:
    with serve(faults=[fault]) as standin, running(tmp_path, standin, source) as command:
        wait_until(lambda: fault.n_hit > 0)
        time.sleep(0.1)
        assert_stopped(command, signal.SIGINT)
        assert Committed.of(tmp_path / "data", N_FEATURES).closed


def test_a_signal_ends_it_soon_while_many_jobs_are_queued(tmp_path: Path) -> None:
    world = World()
    for layer in range(26):
        world.add_source(MODEL, f"{layer}-gemmascope-res-16k", 400)
    many = ["--sae-release", RELEASE, "--sae-id", "layer_*/width_16k/canonical", "--num-features", "400"]
    with serve(world, latency_s=SLOW_S) as standin, running(tmp_path, standin, "batch", *many) as command:
        wait_until(lambda: len(standin.requests) > 30)
        resume = assert_stopped(command, signal.SIGTERM)
        assert "'layer_*/width_16k/canonical'" in resume
        assert not list((tmp_path / "data").glob("*/*/.lock"))


def test_a_signal_ends_it_soon_while_a_wide_sae_is_published(tmp_path: Path) -> None:
    n_features = 60_000
    folder = sae_folder(tmp_path / "data", RELEASE, SAE_ID)
    folder.mkdir(parents=True)
    store = Store.open(folder)
    features = [(i, 1.0, 0.5, b"[]", b"[]") for i in range(n_features)]
    store.commit(Answers(Rows(features, [(i, "", "", f"label {i}") for i in range(n_features)])), "then")
    store.close()
    arguments = ["download", "--source", "batch", "--num-features", str(n_features), "--data-dir"]
    command = Command(tmp_path, *arguments, str(tmp_path / "data"))
    wait_until(lambda: bool(list(folder.glob("*.tmp"))))
    assert_stopped(command, signal.SIGINT)
    assert "interrupted" not in command.err
    assert {path.name for path in folder.iterdir()} == {"labels.sqlite"}


def test_a_second_signal_does_not_make_a_mess(tmp_path: Path) -> None:
    with serve(latency_s=SLOW_S) as standin, running(tmp_path, standin, "batch") as command:
        wait_until(lambda: len(standin.requests) > 10)
        command.send(signal.SIGINT)
        assert_stopped(command, signal.SIGINT)


def test_a_second_process_is_sent_away_with_the_pid_of_the_first(tmp_path: Path) -> None:
    hold = Fault(NoAnswer(), "POST", times=None, skip=5)
    with serve(faults=[hold]) as standin, running(tmp_path, standin, "batch") as first:
        wait_until(lambda: hold.n_hit == 2)
        with running(tmp_path, standin, "export", "--quiet") as second:
            assert second.wait() == 4
            assert f"pid {first.process.pid}" in second.err
            assert len(second.err.splitlines()) == 1
            assert second.out == ""
        assert n_asked(standin, "LIST") == 0
        assert first.process.poll() is None


def test_status_works_while_a_download_runs(tmp_path: Path) -> None:
    hold = Fault(NoAnswer(), "POST", times=None, skip=20)
    with serve(faults=[hold]) as standin, running(tmp_path, standin, "batch") as command:
        wait_until(lambda: hold.n_hit == 2)
        status = Command(tmp_path, "status", "--json", "--data-dir", str(tmp_path / "data"))
        assert status.wait() == 0
        (sae,) = json.loads(status.out)["saes"]
        assert (sae["state"], sae["neuronpedia_id"]) == ("incomplete", NEURONPEDIA_ID)
        assert sae["successful"] + sae["missing"] == 200
        assert command.process.poll() is None


def test_what_was_interrupted_in_the_export_can_be_finished_by_the_api(
    tmp_path: Path, whole: dict[str, dict[str, Any]]
) -> None:
    broken = Fault(Respond(403), "jsonl.gz", times=None, skip=16)
    with serve(faults=[broken]) as standin:
        assert download(standin, tmp_path, "export").status == 3
        assert 0 < len(Committed.of(tmp_path, N_FEATURES).etags) < len(export_etags(standin))
        done = download(standin, tmp_path, "batch")
        assert (done.status, done.summary.successful) == (0, N_FEATURES - 1)
    assert published(tmp_path)["features"] == whole["batch"]["features"]
    assert_whole(tmp_path, whole["batch"])


@pytest.mark.parametrize("source", ["batch", "feature"])
def test_the_next_run_retries_just_the_features_that_failed(tmp_path: Path, source: str) -> None:
    world = make_world(60)
    poisoned = [(MODEL, SOURCE, index) for index in (4, 17, 40)]
    with serve(world, nan_features=poisoned) as standin:
        first = download(standin, tmp_path, source, max_attempts=1)
        assert (first.status, first.failed()) == (1, [4, 17, 40])
    with serve(world) as standin:
        second = download(standin, tmp_path, source)
        assert (second.status, second.failed(), second.summary.resumed) == (0, [], 57)
        assert sorted(Asked.of(standin).indices) == [4, 17, 40]


@pytest.mark.parametrize("source", ["export", "batch", "feature", "auto"])
def test_a_complete_sae_asks_nothing_of_the_server(tmp_path: Path, source: str) -> None:
    with serve(make_world(60, missing={3}, absent_from_export={11})) as standin:
        download(standin, tmp_path, source)
        raw = download(standin, tmp_path, source).raw
        standin.requests.clear()
        again = download(standin, tmp_path, source)
        assert (again.status, again.raw) == (0, raw)
        assert again.summary.requests == len(standin.requests) == 0
        assert again.summary.resumed == again.summary.successful + again.summary.missing == 60


def test_a_refresh_of_an_unchanged_export_asks_for_its_two_listings_only(tmp_path: Path) -> None:
    with serve() as standin:
        raw = download(standin, tmp_path, "export").raw
        standin.requests.clear()
        assert download(standin, tmp_path, "export", refresh=True).raw == raw
        asked = Asked.of(standin)
        assert (len(asked.listings), asked.objects, asked.indices) == (2, [], [])


def test_a_refresh_fetches_just_the_objects_that_changed(tmp_path: Path) -> None:
    world = make_world(N_FEATURES)
    with serve(world) as standin:
        download(standin, tmp_path, "export")
        before = export_etags(standin)
        plant(world, 42, "another label", max_act=77.0)
        standin.bucket.rebuild(MODEL, SOURCE)
        changed = {key for key, etag in export_etags(standin).items() if before[key] != etag}
        assert 0 < len(changed) < len(before)
        standin.requests.clear()
        done = download(standin, tmp_path, "export", refresh=True)
        assert set(Asked.of(standin).objects) == changed
        assert (done.features["42"]["description"], done.features["42"]["max_activation"]) == ("another label", 77.0)
        assert_whole(tmp_path, published_afresh(standin, tmp_path / "afresh"))


def test_what_an_object_brought_goes_when_it_vanishes_from_the_export(tmp_path: Path) -> None:
    world = make_world(N_FEATURES)
    with serve(world) as standin:
        download(standin, tmp_path, "export")
        n_objects = len(export_etags(standin))
    # The same SAE with its last quarter taken out of the export, so that there are fewer objects.
    fewer = make_world(N_FEATURES, absent_from_export=range(100, 400))
    with serve(fewer) as standin:
        assert len(export_etags(standin)) < n_objects
        done = download(standin, tmp_path, "export", refresh=True)
        assert (done.status, done.summary.missing) == (0, 300)
        assert_whole(tmp_path, published_afresh(standin, tmp_path / "afresh"))


def test_an_object_that_vanishes_while_the_export_is_read_is_not_waited_for(tmp_path: Path) -> None:
    gone = Fault(Gone(), f"{EXPORT_PREFIX}features/batch-2", times=1)
    with serve(faults=[gone]) as standin:
        done = download(standin, tmp_path, "export")
        assert done.status == 0
        assert gone.n_hit == 1
        assert n_asked(standin, "LIST") == 4
        assert_whole(tmp_path, published_afresh(standin, tmp_path / "afresh"))


def published_afresh(standin: Standin, data_dir: Path) -> dict[str, Any]:
    download(standin, data_dir, "export")
    return published(data_dir)


@pytest.mark.parametrize(
    "names", [["feature_labels.json"], ["metadata.json"], ["feature_labels.json", "metadata.json"]]
)
def test_a_deleted_file_is_published_again_without_a_request(tmp_path: Path, names: list[str]) -> None:
    with serve(make_world(60)) as standin:
        done = download(standin, tmp_path, "batch")
        before = {name: (done.folder / name).read_bytes() for name in names}
        for name in names:
            (done.folder / name).unlink()
        standin.requests.clear()
        download(standin, tmp_path, "batch")
        assert standin.requests == []
        assert {name: (done.folder / name).read_bytes() for name in names} == before


def test_a_download_without_network_of_a_complete_sae_succeeds(tmp_path: Path) -> None:
    with serve(make_world(60)) as standin:
        download(standin, tmp_path, "batch")
    assert download(standin, tmp_path, "batch").status == 0


def test_a_refused_sae_leaves_no_folder_behind(tmp_path: Path) -> None:
    with serve(World()) as standin:
        standin.world.add_source(MODEL, "another", 10)
        with running(tmp_path, standin, "batch") as command:
            assert command.wait() == 3
    assert not (tmp_path / "data").exists()
