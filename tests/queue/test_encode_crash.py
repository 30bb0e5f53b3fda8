"""Real worker processes, killed, stopped and signalled at random instants: what they leave is finished by the next.

Shards of several formats, results compared byte by byte with those of an undisturbed run.
"""

from __future__ import annotations

import json
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import encoding
import numpy as np
import psutil
import pytest
import torch
from encoding import Site
from queueing import AN_HOUR_S, assert_one_state_each, names
from zygote import Running, Zygote, wait_for

from encoder.queue.queue import Queue
from encoder.queue.spool import Name

N_KILLS = 24
JOBS = ("a", "b", "c", "d")


@pytest.fixture(scope="module")
def long_site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Four shards in three formats, of about a second in all."""
    site = Site(tmp_path_factory.mktemp("site"))
    site.shard("a", 1500, 1, torch.bfloat16)
    np.save(site.acts / "b.npy", encoding.planted(1500, site.weights, 2).numpy())
    torch.save({"hook": encoding.planted(1500, site.weights, 3, torch.float16)}, site.acts / "c.pt")
    site.shard("d", 300, 4)
    return site


@pytest.fixture(scope="module")
def undisturbed(long_site: Site, zygote: Zygote) -> tuple[dict[str, bytes], float]:
    """The results of a run that nobody disturbed, and the seconds that it took."""
    site = elsewhere(long_site, long_site.folder / "undisturbed")
    site.submit()
    zygote.run("--help")  # it is warm now
    began = time.monotonic()
    status, ran = work(site, zygote)
    assert status == 0, ran.err
    return site.results(), time.monotonic() - began


def elsewhere(site: Site, folder: Path) -> Site:
    """Return the same shards with another queue and other results."""
    other = object.__new__(Site)
    other.__dict__ |= site.__dict__ | {"folder": folder, "root": folder / "queue", "out": folder / "out"}
    folder.mkdir()
    return other


def config(site: Site, lease_s: float = 60.0, **more: object) -> Path:
    path = site.folder / "encoder.toml"
    lines = {"lease_s": lease_s, "max_attempts": 1000, "batch_tokens": 8, "backend": "reference"} | more
    path.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items()))
    return path


def start(site: Site, zygote: Zygote, *flags: object, lease_s: float = 60.0) -> Running:
    return zygote.start("work", "--queue", site.root, "--config", config(site, lease_s), *flags)


def work(site: Site, zygote: Zygote) -> tuple[int, Running]:
    running = start(site, zygote)
    return running.wait(), running


def assert_whole(site: Site, expected: dict[str, bytes]) -> None:
    """Every job is done, every result is there, byte by byte, and nothing else.

    The note of a move that was killed before it was made is swept when its owner has been dead for a second: the clock
    is set on for that.
    """
    Queue(site.root, now=lambda: time.time() + AN_HOUR_S).reclaim_expired()
    assert site.results() == expected
    assert names(site.root / "done") == [f"{job}.json" for job in JOBS]
    assert [names(site.root / state) for state in ("ready", "claimed", "failed")] == [[], [], []]


def claimed(site: Site) -> list[Path]:
    """Return the jobs that are worked on; none while there is no queue yet."""
    return list((site.root / "claimed").glob("*.json"))


def test_a_worker_killed_at_any_instant_leaves_what_the_next_one_finishes(
    long_site: Site, undisturbed: tuple[dict[str, bytes], float], zygote: Zygote, tmp_path: Path
) -> None:
    expected, took_s = undisturbed
    site = elsewhere(long_site, tmp_path / "x")
    chance = random.Random(1)
    killed_at_work = 0
    rounds = 0
    site.submit()
    for _ in range(N_KILLS):
        running = start(site, zygote)
        time.sleep(chance.uniform(0.0, 0.5 * took_s))
        running.kill(signal.SIGKILL)
        status = running.wait()
        assert status in (0, -signal.SIGKILL), running.err
        killed_at_work += bool(names(site.root / "claimed"))
        assert_one_state_each(site.root, JOBS)
        if site.queue().status().is_finished:
            assert_whole(site, expected)
            rounds += 1
            for path in site.out.iterdir():
                path.unlink()
            site.submit()
    assert killed_at_work > 3
    status, ran = work(site, zygote)  # waits for the flock of the dead to be noticed, not for the lease
    assert status == 0, ran.err
    assert_whole(site, expected)


def test_a_worker_that_slept_past_its_lease_cannot_overwrite_its_successor(
    long_site: Site, undisturbed: tuple[dict[str, bytes], float], zygote: Zygote, tmp_path: Path
) -> None:
    site = elsewhere(long_site, tmp_path / "x")
    site.submit()
    late = start(site, zygote, lease_s=0.5)
    wait_for(lambda: bool(claimed(site)))
    time.sleep(0.05)
    late.kill(signal.SIGSTOP)
    slept_over = names(site.root / "claimed")
    successor = start(site, zygote, lease_s=0.5)
    assert successor.wait() == 0, successor.err
    inodes = {path.name: path.stat().st_ino for path in site.out.glob("*.npz")}
    late.kill(signal.SIGCONT)
    assert late.wait() == 0
    assert slept_over and "is over" in late.err and "dropped" in late.err, late.err
    assert {path.name: path.stat().st_ino for path in site.out.glob("*.npz")} == inodes
    assert_whole(site, undisturbed[0])


def test_two_workers_share_a_queue(
    long_site: Site, undisturbed: tuple[dict[str, bytes], float], zygote: Zygote, tmp_path: Path
) -> None:
    site = elsewhere(long_site, tmp_path / "x")
    site.submit()
    both = [start(site, zygote, "--json") for _ in range(2)]
    assert [one.wait() for one in both] == [0, 0], [one.err for one in both]
    said = [json.loads(one.out) for one in both]
    assert [one["done"] > 0 for one in said] == [True, True] and sum(one["done"] for one in said) == len(JOBS)
    assert_whole(site, undisturbed[0])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_puts_the_job_back_and_says_how_to_resume(
    number: signal.Signals, long_site: Site, undisturbed: tuple[dict[str, bytes], float], zygote: Zygote, tmp_path: Path
) -> None:
    site = elsewhere(long_site, tmp_path / "x")
    site.submit()
    running = start(site, zygote)
    wait_for(lambda: bool(claimed(site)))
    time.sleep(0.05)
    running.kill(number)
    assert running.wait() == 128 + number
    last = running.err.splitlines()[-1]
    assert last.endswith(f"To resume: sae-encode work --queue {site.root} --config {site.folder}/encoder.toml")
    assert names(site.root / "claimed") == [] and [name for name in names(site.out) if "tmp" in name] == []
    for name in names(site.root / "ready"):
        ticket = site.queue().ticket("ready", name.removesuffix(".json"))
        assert ticket is not None and (ticket.attempts, ticket.worker) == (0, None)
    assert names(site.root / "ready") != []
    assert work(site, zygote)[0] == 0
    assert_whole(site, undisturbed[0])


def test_runs_at_the_same_time_share_a_folder_and_the_last_one_clears_up(
    long_site: Site, undisturbed: tuple[dict[str, bytes], float], zygote: Zygote, tmp_path: Path
) -> None:
    site = elsewhere(long_site, tmp_path / "x")
    flags = ("--sae-path", site.params, "--config", config(site, batch_tokens=64), "--json")
    for _ in range(4):
        three = [zygote.start("run", site.acts, "--out", site.out, *flags) for _ in range(3)]
        assert [one.wait() for one in three] == [0, 0, 0], [one.err for one in three]
        assert all(json.loads(one.out)["errors"] == {} for one in three)
        assert site.results() == undisturbed[0]
        for path in site.out.iterdir():
            path.unlink()


def test_a_run_that_is_told_to_stop_is_resumed_by_the_same_command(
    long_site: Site, undisturbed: tuple[dict[str, bytes], float], zygote: Zygote, tmp_path: Path
) -> None:
    site = elsewhere(long_site, tmp_path / "x")
    command = ("run", site.acts, "--out", site.out, "--sae-path", site.params, "--config", config(site))
    site.root = site.out / ".queue"
    running = zygote.start(*command, "--json")
    wait_for(lambda: bool(claimed(site)))
    time.sleep(0.05)
    running.kill(signal.SIGTERM)
    assert running.wait() == 143
    assert json.loads(running.out)["ready"] > 0 and "To resume: sae-encode run" in running.err.splitlines()[-1]
    status, ran = zygote.run(*command)
    assert status == 0, ran.err
    assert site.results() == undisturbed[0]


def workers_below(pid: int) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(pid).children():
        with suppress(psutil.Error):  # something short-lived
            if "--report" in child.cmdline():
                found.append(child)
    return found


def start_two(site: Site, zygote: Zygote) -> Running:
    """Start a run of two workers, slow ones."""
    flags = ("--sae-path", site.params, "--config", config(site, batch_tokens=1), "--workers", 2, "--json")
    site.root = site.out / ".queue"
    return zygote.start("run", site.acts, "--out", site.out, *flags)


def stopped_at_work(site: Site, worker: psutil.Process) -> bool:
    """Stop a worker in the middle of a job; if it is at none, let it be, and return False."""
    if not at_work(site, worker):
        return False
    worker.suspend()
    wait_for(lambda: worker.status() == psutil.STATUS_STOPPED)
    if not at_work(site, worker):
        worker.resume()
        return False
    return True


def at_work(site: Site, worker: psutil.Process) -> bool:
    """Tell whether a worker has a claim that is not decided yet."""
    claims = [parsed[0] for path in claimed(site) if (parsed := Name.parse(path.name))]
    return any(f"-{worker.pid}-" in one.owner and not one.to for one in claims)


def has_done_one(site: Site, worker: psutil.Process) -> bool:
    tickets = (json.loads(path.read_bytes()) for path in (site.root / "done").glob("*.json"))
    return any(f"-{worker.pid}-" in ticket["worker"] for ticket in tickets)


def test_a_run_of_two_workers_survives_the_death_of_one(
    long_site: Site, undisturbed: tuple[dict[str, bytes], float], zygote: Zygote, tmp_path: Path
) -> None:
    """The other one does what the dead one was at; what it had done before is counted."""
    site = elsewhere(long_site, tmp_path / "x")
    parent = start_two(site, zygote)

    def stop_one() -> psutil.Process | None:
        workers = workers_below(parent.pid)
        return next((one for one in workers if has_done_one(site, one) and stopped_at_work(site, one)), None)

    wait_for(stop_one).kill()
    assert parent.wait() == 0, parent.err
    said = json.loads(parent.out)
    assert (said["done"], said["shards"], said["rows"], said["failed"]) == (4, 4, 4800, 0)
    assert "was killed by signal 9" in parent.err and "a: 1,500 tokens" in parent.err
    assert site.results() == undisturbed[0] and not site.root.exists()


def test_the_workers_of_a_run_that_was_killed_stop_by_themselves(
    long_site: Site, undisturbed: tuple[dict[str, bytes], float], zygote: Zygote, tmp_path: Path
) -> None:
    site = elsewhere(long_site, tmp_path / "x")
    parent = start_two(site, zygote)
    wait_for(lambda: len(claimed(site)) == 2)
    workers = workers_below(parent.pid)
    parent.kill(signal.SIGKILL)
    assert parent.wait() == -signal.SIGKILL
    assert len(workers) == 2 and not psutil.wait_procs(workers, timeout=120)[1]
    assert_one_state_each(site.root, JOBS)
    assert names(site.root / "claimed") == [] and names(site.root / "ready") != []
    flags = ("--sae-path", site.params, "--config", config(site), "--json")
    status, ran = zygote.run("run", site.acts, "--out", site.out, *flags)
    assert status == 0, ran.err
    assert json.loads(ran.out)["failed"] == 0 and not site.root.exists()
    assert site.results() == undisturbed[0]
