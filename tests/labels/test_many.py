"""A pattern's SAEs are one queue: one limiter, fair to the first, and no job stops another."""

import asyncio
import gc
import signal
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from command import SUMMARY_KEYS, end, saefetch, start, wait_until

from saefetch.downloading.outcome import Outcome
from saefetch.downloading.run import run_jobs
from saefetch.names.identity import Target, resolve
from saefetch.settings import Settings
from saefetch.terminal.progress import Display
from standin import Standin, World

N_FEATURES = 60
PATTERN = "layer_*/width_16k/canonical"
TARGETS = resolve("gemma-scope-2b-pt-res-canonical", PATTERN, None, N_FEATURES)
WORDS = ("download", "--sae-id", PATTERN, "--num-features", str(N_FEATURES), "--json")


def make_world(n_features: dict[int, int] | None = None, without: int | None = None) -> World:
    """Make 26 small SAEs; `n_features` says which are larger, `without` which is not there at all."""
    world = World()
    for layer in range(26):
        if layer != without:
            n = (n_features or {}).get(layer, N_FEATURES)
            world.add_source("gemma-2-2b", f"{layer}-gemmascope-res-16k", n)
    return world


class Order(Display):
    """Notes in which order the jobs begin and end, and how many are open at once."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.most_open = 0

    def begin(self, name: str, total: int, done: int = 0, *, line: str = "", short: str = "") -> None:
        super().begin(name, total, done, line=line, short=short)
        self.begun.append(name)
        self.most_open = max(self.most_open, len(self.begun) - len(self.ended))

    def end(self, name: str, line: str = "") -> None:
        super().end(name, line)
        self.ended.append(name)


def download(
    targets: list[Target], data_dir: Path, api_url: str, export_url: str, display: Display | None = None, **knobs: Any
) -> list[Outcome]:
    settings = Settings(
        data_dir=data_dir, api_url=api_url, export_url=export_url, **({"requests_per_second": 5000} | knobs)
    )
    return asyncio.run(run_jobs(targets, settings, display or Display()))


def test_a_pattern_is_26_jobs_in_order() -> None:
    assert len(TARGETS) == 26 and {target.d_sae for target in TARGETS} == {N_FEATURES}


def test_all_jobs_share_one_limiter(tmp_path: Path) -> None:
    rate, targets = 8, TARGETS[:4]
    world = World()
    for target in targets:
        world.add_source(target.model_id, target.source_id, N_FEATURES, absent_from_export=range(20))
    with Standin(world) as standin:
        knobs = {"requests_per_second": rate, "batch_size": 5}
        outcomes = download(targets, tmp_path, standin.api_url, standin.export_url, Display(), **knobs)
        assert {record.origin for record in standin.requests} == {"api", "export"}
        times = sorted(record.time_s for record in standin.requests)
    assert [outcome.exit_status for outcome in outcomes] == [0] * 4
    assert len(times) == sum(outcome.summary.requests for outcome in outcomes) >= 4 * 8
    for window_s in (0.25, 0.5, 1.0):
        most = max(sum(t <= other < t + window_s for other in times) for t in times)
        assert most <= rate + rate * window_s + 2, f"{most} requests in {window_s} s"  # 2: what was under way


def test_the_first_job_is_not_starved_by_the_others(tmp_path: Path) -> None:
    targets = [replace(TARGETS[0], d_sae=3000), *TARGETS[1:]]
    display = Order()
    with Standin(make_world({0: 3000}), features_batch=100, explanations_batch=100, latency_s=0.005) as standin:
        download(targets, tmp_path, standin.api_url, standin.export_url, display, concurrency=4)
        objects = [record.path for record in standin.requests if "jsonl.gz" in record.path]
    mine = [number for number, path in enumerate(objects) if "/0-gemmascope" in path]
    assert len(mine) >= 60
    strangers = mine[-1] - mine[0] + 1 - len(mine)
    assert strangers <= 6, f"{strangers} objects of other SAEs came between those of the first"
    places = [display.begun.index(target.name) for target in targets]
    assert all(abs(place - number) < 3 for number, place in enumerate(places)), "they begin in their order, 3 at a time"
    assert display.most_open <= 3


@pytest.mark.parametrize("source", ["auto", "batch"])
def test_a_job_that_fails_stops_no_other_and_the_exit_status_is_the_worst(source: str, tmp_path: Path) -> None:
    with Standin(make_world(without=13)) as standin:
        ended = saefetch(tmp_path, *WORDS, "--source", source, standin=standin)
    jobs = ended.document["jobs"]
    assert ended.status == 3 and len(jobs) == 26
    assert all(list(job) == SUMMARY_KEYS for job in jobs)
    assert [job["successful"] for job in jobs] == [0 if layer == 13 else N_FEATURES for layer in range(26)]
    assert jobs[13]["failed"] == N_FEATURES and jobs[13]["labels_path"] is None
    assert "layer_13/width_16k/canonical: " in ended.err and "25 of 26 SAEs complete, 1 failed" in ended.err
    assert len(list((tmp_path / "sae").rglob("feature_labels.json"))) == 25
    assert not list((tmp_path / "sae").rglob("layer_13*")), "nothing is left of the one that failed"


def test_an_interrupted_queue_resumes_as_a_whole(tmp_path: Path) -> None:
    with Standin(make_world(), latency_s=0.02) as standin:
        process = start(tmp_path, *WORDS, "--concurrency", "2", standin=standin)
        wait_until(lambda: len(standin.requests) > 50)
        process.send_signal(signal.SIGINT)
        ended = end(process)
        first = [job["successful"] for job in ended.document["jobs"]]
        assert ended.status == 130 and len(first) == 26
        assert first[0] == N_FEATURES and first[-1] == 0, "some were done, some not begun"
        assert ended.err.splitlines()[-1].endswith(f"--num-features {N_FEATURES} --json --concurrency 2")
        assert not [path for path in (tmp_path / "sae").rglob("labels.sqlite") if path.stat().st_size == 0]
        before = len(standin.requests)
        resumed = saefetch(tmp_path, *WORDS, standin=standin)
        objects = Counter(record.path for record in standin.requests if "jsonl.gz" in record.path)
        second = len(standin.requests) - before
    jobs = resumed.document["jobs"]
    assert resumed.status == 0 and [job["successful"] for job in jobs] == [N_FEATURES] * 26
    assert [job["resumed"] for job in jobs[:3]] == [N_FEATURES] * 3
    assert sum(n > 1 for n in objects.values()) <= 2, "only what was in flight came twice"
    n_done = sum(n == N_FEATURES for n in first)
    assert second <= (26 - n_done + 1) * 5, "what was complete cost no request"


def test_a_finished_queue_costs_no_request(tmp_path: Path) -> None:
    with Standin(make_world()) as standin:
        download(TARGETS, tmp_path, standin.api_url, standin.export_url)
        n_requests = len(standin.requests)
        outcomes = download(TARGETS, tmp_path, standin.api_url, standin.export_url)
        assert len(standin.requests) == n_requests
    assert {outcome.summary.resumed for outcome in outcomes} == {N_FEATURES}


@contextmanager
def standin_elsewhere(folder: Path, n_features: int) -> Iterator[tuple[str, str]]:
    """Serve 26 SAEs from another process, whose memory is not ours."""
    sources = [f"--source={target.neuronpedia_id}={n_features}" for target in TARGETS]
    ready = folder / "ready.json"
    process = subprocess.Popen(
        [sys.executable, "-m", "standin", *sources, "--ready-file", ready], stdout=subprocess.DEVNULL
    )
    try:
        wait_until(ready.exists)
        address = orjson.loads(ready.read_bytes())
        yield address["api_url"], address["export_url"]
    finally:
        process.terminate()
        process.wait()


def test_memory_does_not_grow_with_the_number_of_jobs(tmp_path: Path) -> None:
    n_features = 400  # a job that stays in memory costs about 400 KB
    targets = [replace(target, d_sae=n_features) for target in TARGETS]

    def peak(n_jobs: int) -> int:
        tracemalloc.reset_peak()
        download(targets[:n_jobs], tmp_path / str(time.monotonic_ns()), *address, concurrency=2)
        return tracemalloc.get_traced_memory()[1]

    thresholds = gc.get_threshold()
    with standin_elsewhere(tmp_path, n_features) as address:
        tracemalloc.start()
        gc.freeze()  # or the collector puts off what it takes for little, beside all that the other tests left
        gc.collect()
        gc.set_threshold(100, 2, 2)  # or what counts is when it came by, megabytes this way or that
        try:
            peak(4)  # so that all that is imported or cached on the way is there
            few, many = peak(4), peak(26)
        finally:
            gc.set_threshold(*thresholds)
            gc.unfreeze()
            tracemalloc.stop()
    assert many < few + 2_000_000, f"{few:,} bytes for 4 jobs, {many:,} for 26"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_no_file_stays_open(tmp_path: Path) -> None:
    with standin_elsewhere(tmp_path, N_FEATURES) as address:
        download(TARGETS[:2], tmp_path / "a", *address)
        n_open = len(list(Path("/proc/self/fd").iterdir()))
        download(TARGETS, tmp_path / "b", *address)
        assert len(list(Path("/proc/self/fd").iterdir())) <= n_open
