"""`saefetch jobs` and the watching of jobs, against the real service."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command import wait_until
from service_server import Served
from test_jobs_cli import Ran
from test_watch import Diary

from saefetch.cli.app import app
from saefetch.errors import RefusedError, RequestRejectedError, UsageError
from saefetch.service.client import Client, Job
from saefetch.service.watch import AWAY, watch
from saefetch.terminal.program import run_app
from standin import Standin, World

N = 400
SLOW: dict[str, Any] = {"source": "feature", "requests_per_second": 20, "num_features": N}


@pytest.fixture(scope="module")
def standin() -> Any:
    world = World()
    world.add_source("gemma-2-2b", "16-gemmascope-res-16k", N)
    with Standin(world, lean=True) as standin:
        yield standin


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    def run(served: Served, *words: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["saefetch", "jobs", *words, "--url", served.url])
        status = run_app(app, "saefetch", lambda command: None)
        return Ran(status, *capsys.readouterr())

    return run


def test_each_command_means_what_the_service_does(run: Callable[..., Ran], standin: Standin, tmp_path: Path) -> None:
    with Served(tmp_path / "sae", standin, **SLOW) as served:
        assert run(served, "add", "--json").jobs[0]["id"] == "1"
        assert "Nothing new" in run(served, "add").err
        with pytest.raises(RequestRejectedError, match=r"job 1 is .* with other options"):
            run(served, "add", "--source", "batch")
        for words in (["add", "--sae-id", "layer_99/x"], ["add", "--source", "x"], ["show", "99"], ["show", "../saes"]):
            with pytest.raises(UsageError) as refused:
                run(served, *words)
            assert "\n" not in str(refused.value)
        assert run(served, "cancel", "1").out.startswith("1\tcancelled\t")
        with pytest.raises(RequestRejectedError, match="it is cancelled"):
            run(served, "cancel", "1")
        assert run(served, "retry", "1").out.startswith("1\tqueued\t")
        assert run(served, "cancel", "1", "--json").jobs[0]["state"] == "cancelled"
        assert [line.split("\t")[:2] for line in run(served, "list").out.splitlines()] == [["1", "cancelled"]]
        assert run(served, "watch").err == "no job is waiting or running\n"


def test_a_service_that_wants_a_token_gets_it(run: Callable[..., Ran], tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("a-long-random-word\n")
    with Served(tmp_path / "sae", token="a-long-random-word") as served:
        assert run(served, "list", "--token-file", str(token), "--json").jobs == []
        with pytest.raises(RefusedError, match="--token-file"):
            run(served, "list")


def test_watching_goes_on_over_a_restart_of_the_service(standin: Standin, tmp_path: Path) -> None:
    diary = Diary()

    async def main(first: Served) -> list[Job]:
        async with Client(first.url) as client:
            jobs, _ = await client.add({})
            watching = asyncio.create_task(watch(client, jobs, diary, lambda _: asyncio.sleep(0.01)))
            await asyncio.to_thread(wait_until, lambda: any(line[0] == "begin" for line in diary.lines))
            await asyncio.to_thread(first.__exit__)
            await asyncio.to_thread(wait_until, lambda: AWAY in diary.pauses)
            quick = SLOW | {"requests_per_second": 1e5}
            second = Served(tmp_path / "sae", standin, port=first.port, **quick)
            await asyncio.to_thread(second.__enter__)
            try:
                return await asyncio.wait_for(watching, 120)
            finally:
                await asyncio.to_thread(second.__exit__)

    with_first = Served(tmp_path / "sae", standin, **SLOW)
    with_first.__enter__()
    (job,) = asyncio.run(main(with_first))
    assert (job["state"], job["successful"]) == ("done", N)
    assert sum(line[0] == "begin" for line in diary.lines) == 1, "one bar, which goes on"
