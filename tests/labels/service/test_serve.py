"""`saefetch serve` as a process: it listens, it ends by signals, and kill -9 at any instant loses no job."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from command import end, saefetch, start, wait_until

from standin import Standin, World

N = 40
LAYERS = (0, 1, 2, 3, 4)
FIVE = {
    "sae_release": "gemma-scope-2b-pt-res-canonical",
    "sae_id": "layer_[0-4]/width_16k/canonical",
    "num_features": N,
}


def make_world() -> World:
    world = World()
    for layer in LAYERS:
        world.add_source("gemma-2-2b", f"{layer}-gemmascope-res-16k", N)
    return world


class Served:
    """A service, and how to ask it."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port = process, port

    def ask(self, path: str, body: object = None, **headers: str) -> Any:
        request = Request(f"http://127.0.0.1:{self.port}{path}", headers=headers)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        with urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def jobs(self) -> list[dict[str, Any]]:
        jobs: list[dict[str, Any]] = self.ask("/v1/jobs")["jobs"]
        return jobs

    def states(self) -> list[str]:
        return [job["state"] for job in self.jobs()]


def port_of(process: subprocess.Popen[str]) -> int:
    """Read the log until it says where the service listens; jobs of an earlier service may begin before."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if match := re.search(r"listening on http://127\.0\.0\.1:(\d+)/", line):
            return int(match[1])
    raise AssertionError("".join(lines))


@contextmanager
def served(cwd: Path, standin: Standin | None, *flags: str, **variables: str) -> Iterator[Served]:
    process = start(cwd, "serve", "--port", "0", *flags, standin=standin, **variables)
    try:
        yield Served(process, port_of(process))
    finally:
        process.kill()
        process.communicate()


def test_kill_9_at_any_instant_loses_no_job_and_fetches_only_what_is_missing(tmp_path: Path) -> None:
    random = Random(5)
    words = ("--source", "batch", "--batch-size", "2", "--jobs", "3", "--concurrency", "4")
    n_kills, n_needed = 4, 5 * N // 2
    with Standin(make_world(), latency_s=0.02) as standin:
        for n in range(n_kills):
            with served(tmp_path, standin, *words) as service:
                if n == 0:
                    assert len(service.ask("/v1/jobs", FIVE)["jobs"]) == 5
                assert sorted(job["id"] for job in service.jobs()) == ["1", "2", "3", "4", "5"]
                enough = len(standin.requests) + random.randrange(1, n_needed // n_kills)
                wait_until(lambda enough=enough: len(standin.requests) >= enough or set(service.states()) == {"done"})  # type: ignore[misc]
                service.process.send_signal(signal.SIGKILL)
                service.process.wait()
        with served(tmp_path, standin, *words) as service:
            wait_until(lambda: set(service.states()) == {"done"})
            jobs = service.jobs()
        assert len(jobs) == 5 and all(job["successful"] == job["total_features"] == N for job in jobs)
        n_lost_at_most = n_kills * 4
        assert n_needed <= len(standin.requests) <= n_needed + n_lost_at_most
    files = sorted(tmp_path.glob("sae/*/*/feature_labels.json"))
    assert len(files) == 5
    assert all(json.loads(path.read_bytes())["stats"]["successful"] == N for path in files)
    assert saefetch(tmp_path, "verify", standin=None).status == 0


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_with_jobs_back_in_the_queue(tmp_path: Path, number: signal.Signals, status: int) -> None:
    with Standin(make_world(), latency_s=30) as standin, served(tmp_path, standin, "--source", "batch") as service:
        service.ask("/v1/jobs", FIVE)
        wait_until(lambda: bool(standin.requests))
        service.process.send_signal(number)
        ended = end(service.process)
        assert ended.status == status and "Traceback" not in ended.err
        with served(tmp_path, standin) as again:
            assert set(again.states()) <= {"queued", "running"} and len(again.states()) == 5


def test_a_second_service_of_the_folder_ends_with_status_4_and_the_first_ones_pid(tmp_path: Path) -> None:
    with served(tmp_path, None) as service:
        ended = end(start(tmp_path, "serve", "--port", "0", standin=None))
        assert ended.status == 4 and f"pid {service.process.pid}" in ended.err
        assert service.ask("/healthz")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--host", "0.0.0.0"], "needs a token"),
        (["--token-file", "nothing"], "No such file"),
        (["--token-file", os.devnull], "it is empty"),
        (["--refresh-every", "0"], "--refresh-every 0: expected a number of days"),
        (["--refresh-every", "nan"], "expected a number of days"),
        (["--host", "256.1.1.1", "--token-file", "token"], "cannot listen there"),
        (["--concurrency", "x"], "--concurrency 'x'"),
    ],
)
def test_a_wrong_flag_is_one_line(tmp_path: Path, flags: list[str], words: str) -> None:
    (tmp_path / "token").write_text("abc\n")
    ended = saefetch(tmp_path, "serve", "--port", "0", *flags, standin=None)
    assert ended.status == 2 and words in ended.err and ended.err.count("\n") == 1, ended.err


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with served(tmp_path, None) as service:
        ended = saefetch(tmp_path, "serve", "--port", str(service.port), "--data-dir", "other", standin=None)
        assert ended.status == 2 and f"--port {service.port}: cannot listen there" in ended.err


def test_the_log_in_json_names_jobs_and_requests_and_no_secret(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cr3t-token\n")
    variables = {"NEURONPEDIA_API_KEY": "k3y-of-neuronpedia"}
    with Standin(make_world()) as standin:
        process = start(
            tmp_path, "serve", "--port", "0", "--token-file", "token", "--log-json", standin=standin, **variables
        )
        service = Served(process, port_of(process))
        with pytest.raises(HTTPError, match="401"):
            service.ask("/v1/jobs?state=s3cr3t-token")
        asked = {"Authorization": "Bearer s3cr3t-token", "X-Request-Id": "mine-1"}
        service.ask("/v1/jobs", FIVE, **asked)
        wait_until(lambda: {job["state"] for job in service.ask("/v1/jobs", **asked)["jobs"]} == {"done"})
        process.send_signal(signal.SIGTERM)
        ended = end(process)
    lines = [json.loads(line) for line in ended.err.splitlines()]
    assert all({"time", "level", "message"} <= set(line) for line in lines)
    assert {line["job"] for line in lines if "job" in line} == {"1", "2", "3", "4", "5"}
    assert any(line.get("request_id") == "mine-1" and line["status"] == 202 for line in lines)
    everything = ended.err + ended.out + str((tmp_path / "sae" / "jobs.sqlite").read_bytes())
    assert "s3cr3t" not in everything and "k3y-of" not in everything
