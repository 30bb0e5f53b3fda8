"""`saefetch jobs`: what is printed, and the exit status, against a service that does as a test says."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from fake_service import FakeService, job, problem

from saefetch.cli.app import app
from saefetch.cli.jobs import STATES
from saefetch.errors import RefusedError, SaefetchError, UnreachableError, UsageError
from saefetch.terminal.program import run_app

NAME = "gemma-scope-2b-pt-res-canonical layer_2/width_16k/canonical"


@dataclass
class Ran:
    status: int
    out: str
    err: str

    @property
    def jobs(self) -> list[dict[str, Any]]:
        document = json.loads(self.out)
        assert list(document) == ["jobs"]
        jobs: list[dict[str, Any]] = document["jobs"]
        return jobs


@pytest.fixture
def service() -> Iterator[FakeService]:
    told = "refused by \x1b[31mthe server"
    with FakeService(job(1, "failed", 10, error=told), job(2, "running", 10), job(3)) as service:
        yield service


@pytest.fixture
def run(
    service: FakeService, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ran]:
    """The command as a function of its words; `terminal` says whether stdout is one."""
    monkeypatch.delenv("SAEFETCH_TOKEN", raising=False)
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*words: str, terminal: bool = False) -> Ran:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
        monkeypatch.setattr(sys, "argv", ["saefetch", "jobs", *words, "--url", service.url])
        status = run_app(app, "saefetch", lambda command: None)
        return Ran(status, *capsys.readouterr())

    return run


def test_add_asks_for_what_was_named_and_nothing_else(run: Callable[..., Ran], service: FakeService) -> None:
    ran = run("add", "--sae-id", "layer_*", "--num-features", "16384", "--refresh")
    assert service.asked[0].body == {"sae_id": "layer_*", "num_features": 16384, "refresh": True}
    assert ran.status == 0 and ran.out.startswith(
        "4\tqueued\t-\t2026-12-01 09:30:00Z\tgemma-scope-2b-pt-res-canonical\t"
    )
    assert run("add", "--json").jobs[0]["id"] == "5"
    assert service.asked[1].body == {}


def test_add_says_how_to_watch_and_that_nothing_is_new(run: Callable[..., Ran], service: FakeService) -> None:
    assert f"saefetch jobs watch 4 --url {service.url}" in run("add", terminal=True).err
    service.answer = lambda request: web.json_response({"jobs": [job(2, "running", 10)]})
    assert "Nothing new" in run("add").err


def test_list_is_aligned_in_a_terminal_and_safe_to_print(run: Callable[..., Ran]) -> None:
    assert run("list", terminal=True).out.splitlines() == [
        f"3  queued             -  2026-12-01 09:30:00Z  {NAME.replace(' layer_2', '  layer_3')}",
        f"2  running  10 of 1,000  2026-12-01 09:30:00Z  {NAME.replace(' ', '  ')}",
        f"1  failed   10 of 1,000  2026-12-01 09:30:00Z  {NAME.replace(' layer_2', '  layer_1')}",
        "   refused by \ufffd[31mthe server",
    ]


def test_list_elsewhere_is_lines_of_tabs(run: Callable[..., Ran], service: FakeService) -> None:
    lines = [line.split("\t") for line in run("list").out.splitlines()]
    assert {len(line) for line in lines} == {7} and [line[0] for line in lines] == ["3", "2", "1"]
    ran = run("list", "--state", "running", "--limit", "1", "--json")
    assert [each["id"] for each in ran.jobs] == ["2"] and ran.err == ""
    assert "--limit shows more" in run("list", "--limit", "2").err
    assert "no job is done" in run("list", "--state", "done").err
    with pytest.raises(UsageError, match=f"expected one of {', '.join(STATES)}"):
        run("list", "--state", "lost")


def test_show_prints_all_that_is_known(run: Callable[..., Ran]) -> None:
    out = run("show", "2").out
    assert out.startswith("job 2: running\n") and "  total_features     1,000\n" in out and "None" not in out
    assert [each["id"] for each in run("show", "1", "2", "--json").jobs] == ["1", "2"]


def test_cancel_and_retry_go_on_after_a_job_that_cannot(run: Callable[..., Ran], service: FakeService) -> None:
    ran = run("cancel", "2", "99", "3", "--json")
    assert [(each["id"], each["state"]) for each in ran.jobs] == [("2", "cancelled"), ("3", "cancelled")]
    assert ran.status == 2 and ran.err == "saefetch: job 99: there is no job 99\n"
    assert run("retry", "1").out.startswith("1\tqueued\t")
    with pytest.raises(SaefetchError, match="only failed and cancelled ones are tried again") as refused:
        run("retry", "1")
    assert refused.value.exit_status == 1


def test_watch_ends_with_the_worst_of_the_jobs(run: Callable[..., Ran], service: FakeService) -> None:
    service.streams = [lambda: service.tell(job(2, "running", 500), job(2, "done"), job(3, "done")), lambda: None]
    ran = run("watch")
    assert ran.status == 0, "job 1 had failed before"
    assert f"job 2, {NAME}: 1,000 of 1,000 features, 900 with labels (12 requests, 3.0 MB, 1.5 s)\n" in ran.out
    assert f"{NAME}: 1,000 features, 10 already here\n" in ran.err
    ran = run("watch", "1", "2", "--json")
    assert ran.status == 1 and [each["state"] for each in ran.jobs] == ["failed", "done"]
    assert f"1 of 2 jobs done. To try the others again: saefetch jobs retry 1 --url {service.url}\n" in ran.err
    assert run("watch").err == "no job is waiting or running\n"


def test_ctrl_c_ends_the_watching_and_no_job(run: Callable[..., Ran], service: FakeService) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        service.streams = [lambda number=number: os.kill(os.getpid(), number), lambda: None, lambda: None]
        ran = run("watch", "2", "--quiet")
        assert ran.status == 128 + number and ran.out == ""
        assert ran.err == (
            f"Watching has ended, the jobs go on. To watch again: saefetch jobs watch 2 --url {service.url}\n"
        )
    assert {asked.method for asked in service.asked} == {"GET"}


def test_the_token_is_sent_and_never_printed(run: Callable[..., Ran], service: FakeService, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("very-secret\n")
    run("list", "--token-file", str(path))
    assert service.asked[0].headers["authorization"] == "Bearer very-secret"
    service.answer = lambda request: problem(401, "not this token")
    with pytest.raises(RefusedError, match="not this token") as refused:
        run("list", "--token-file", str(path))
    assert refused.value.exit_status == 3 and "very-secret" not in str(refused.value)


def test_where_no_service_is_it_is_one_line(run: Callable[..., Ran], service: FakeService) -> None:
    service.stop()
    for words in (["list"], ["watch"], ["add"], ["cancel", "1"]):
        with pytest.raises(UnreachableError, match="`saefetch serve` starts one") as refused:
            run(*words)
        assert refused.value.exit_status == 1 and "\n" not in str(refused.value)
