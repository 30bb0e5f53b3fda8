"""The queue: its rules, tickets that are none, and processes that race, die and wake up late."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from queueing import (
    AN_HOUR_S,
    assert_finished,
    assert_one_state_each,
    done_ticket,
    encoded,
    make_queue,
    make_ticket,
    names,
    places,
    recover,
    several,
    work,
    work_in_parts,
)

from encoder.errors import FencedError, InputError
from encoder.queue.queue import Queue
from encoder.queue.spool import Name, Spool, kernel_tag
from encoder.queue.ticket import Ticket

HERE = Path(__file__).parents[1] / "support"
IN_MEMORY = Path("/dev/shm")
NINE = ["job", "shard", "out", "sae", "select", "attempts", "worker", "submitted_at", "error"]


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: the fsyncs are done, and take no time."""
    if not IN_MEMORY.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        yield Path(folder)


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.time_s = 1_700_000_000.0

    def __call__(self) -> float:
        return self.time_s


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_bytes())
    return content


# --- the rules


def test_a_ticket_in_every_folder_has_the_nine_keys_and_says_where_the_job_stands(tmp_path: Path) -> None:
    queue = make_queue(tmp_path, "ab", worker="w1", max_attempts=1)
    ready = read(tmp_path / "ready/a.json")
    assert list(ready)[:9] == NINE
    assert (ready["attempts"], ready["worker"], ready["error"]) == (0, None, None)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", ready["submitted_at"])
    claim = queue.claim()
    assert claim is not None
    (path,) = (tmp_path / "claimed").iterdir()
    assert path.name.startswith("a.1.w1.")
    assert read(path) == ready | {"attempts": 1, "worker": "w1"}
    claim.temporary.write_bytes(b"features")
    claim.done({"rows": 3})
    done = read(tmp_path / "done/a.json")
    assert done.pop("outputs")[str(tmp_path / "out/a.npz")]["bytes"] == len(b"features")
    assert done == ready | {"attempts": 1, "worker": "w1", "result": {"rows": 3}}
    claim = queue.claim()
    assert claim is not None
    claim.fail("no good", "Traceback ...")
    failed = read(tmp_path / "failed/b.json")
    assert (failed["attempts"], failed["worker"], failed["error"]) == (1, "w1", "no good")
    assert failed["traceback"] == "Traceback ..."
    assert names(tmp_path / "claimed") == []


def test_submitting_again_leaves_every_job_alone_unless_asked(tmp_path: Path) -> None:
    queue = make_queue(tmp_path, "abcd", max_attempts=1)
    for end in ("done", "fail"):
        claim = queue.claim()
        assert claim is not None
        if end == "done":
            claim.temporary.write_bytes(b"features")
            claim.done()
        else:
            claim.fail("no")
    held = queue.claim()
    before = places(tmp_path)
    assert before == {"a": ["done"], "b": ["failed"], "c": ["claimed"], "d": ["ready"]}
    other = Queue(tmp_path)
    assert other.submit([make_ticket(job) for job in "abcd"]) == 0
    assert places(tmp_path) == before
    assert other.submit([make_ticket(job, sae={"new": 1}) for job in "abcde"], again=True) == 3
    assert places(tmp_path) == {"a": ["ready"], "b": ["ready"], "c": ["claimed"], "d": ["ready"], "e": ["ready"]}
    assert read(tmp_path / "ready/b.json")["sae"] == {"new": 1}
    assert read(tmp_path / "ready/b.json")["error"] is None
    assert held is not None
    held.check()


def test_jobs_are_claimed_by_name_and_one_that_comes_back_waits_its_turn(tmp_path: Path) -> None:
    queue = make_queue(tmp_path, ["b", "c", "a"])
    order: list[str] = []
    while len(order) < 5:
        claim = queue.claim()
        assert claim is not None
        order.append(claim.ticket.job)
        claim.fail("again")
    assert order == ["a", "b", "c", "a", "b"]


def test_a_failing_job_ends_in_failed_and_retry_starts_it_anew(tmp_path: Path) -> None:
    queue = make_queue(tmp_path, "ab")
    for attempt in (1, 1, 2, 2, 3, 3):
        claim = queue.claim()
        assert claim is not None
        assert claim.ticket.attempts == attempt
        claim.fail(f"error {attempt}", "x" * 100_000)
    assert queue.claim() is None
    assert queue.status().failed == {"a": "error 3", "b": "error 3"}
    assert queue.retry(["b", "nobody"]) == ["b"]
    assert read(tmp_path / "ready/b.json")["attempts"] == 0
    assert queue.retry() == ["a"]
    assert work(queue) == ["a", "b"]
    assert_finished(tmp_path, "ab")


def test_a_job_that_is_put_back_has_no_attempt_counted(tmp_path: Path) -> None:
    queue = make_queue(tmp_path, "a", max_attempts=1)
    for _ in range(5):
        claim = queue.claim()
        assert claim is not None
        claim.temporary.write_bytes(b"half")
        claim.put_back()
        assert read(tmp_path / "ready/a.json")["attempts"] == 0
    assert names(tmp_path / "out") == []
    work(queue)
    assert_finished(tmp_path, "a")


def test_a_lease_runs_out_unless_it_is_renewed(tmp_path: Path) -> None:
    clock = Clock()
    queue = make_queue(tmp_path, "a", now=clock, lease_s=60)
    claim = queue.claim()
    assert claim is not None
    for _ in range(3):
        clock.time_s += 60
        assert queue.reclaim_expired() == []
        claim.renew()
    clock.time_s += 60.1
    claim.temporary.write_bytes(b"half")
    assert queue.reclaim_expired() == ["a"]
    assert "lease expired" in read(tmp_path / "ready/a.json")["error"]
    assert read(tmp_path / "ready/a.json")["attempts"] == 1
    assert names(tmp_path / "out") == []
    for call in (claim.renew, claim.check, claim.done, claim.put_back, lambda: claim.fail("x")):
        with pytest.raises(FencedError, match="a: attempt 1 of worker"):
            call()
    for end in (claim.done, claim.put_back, lambda: claim.fail("x")):
        claim.temporary.write_bytes(b"late")
        with pytest.raises(FencedError):
            end()
        assert names(tmp_path / "out") == []


def test_after_the_last_attempt_a_lost_lease_is_a_failure(tmp_path: Path) -> None:
    clock = Clock()
    queue = make_queue(tmp_path, "a", now=clock, max_attempts=2)
    for _ in range(2):
        assert queue.claim() is not None
        clock.time_s += 61
        queue.reclaim_expired()
    assert queue.claim() is None
    assert "lease expired" in queue.status().failed["a"]


def test_a_claim_is_fresh_however_long_ago_the_job_was_submitted(tmp_path: Path) -> None:
    clock = Clock()
    queue = make_queue(tmp_path, "a", now=clock)
    clock.time_s += 1_000_000
    assert queue.claim() is not None
    assert queue.reclaim_expired() == []


def test_leases_are_measured_on_the_clock_of_the_file_system(tmp_path: Path) -> None:
    queue = make_queue(tmp_path, "a", lease_s=60)
    claim = queue.claim()
    (path,) = (tmp_path / "claimed").iterdir()
    assert abs(queue._spool.now() - path.stat().st_mtime) < 5
    assert queue.status().claimed[0].age_s < 5
    os.utime(path, (time.time() - 61, time.time() - 61))
    assert claim is not None
    claim.renew()
    assert queue.reclaim_expired() == []
    os.utime(path, (time.time() - 61, time.time() - 61))
    assert queue.reclaim_expired() == ["a"]


def test_a_claim_from_the_future_does_not_last_until_then(tmp_path: Path) -> None:
    """The clock was set back."""
    queue = make_queue(tmp_path, "a", lease_s=60)
    claim = queue.claim()
    (path,) = (tmp_path / "claimed").iterdir()
    os.utime(path, (time.time() + 1e6, time.time() + 1e6))
    assert queue.reclaim_expired() == ["a"]
    with pytest.raises(FencedError):
        claim.renew()  # type: ignore[union-attr]


def test_a_job_whose_attempts_are_used_up_is_not_claimed(tmp_path: Path) -> None:
    queue = make_queue(tmp_path, "a", max_attempts=2)
    claim = queue.claim()
    assert claim is not None
    claim.fail("once")
    assert Queue(tmp_path, max_attempts=1).claim() is None
    assert queue.status().failed == {"a": "once"}


def test_a_rename_that_reports_an_error_although_it_was_done_counts_as_done(tmp_path: Path) -> None:
    """NFS sends a request again when the answer is lost; the second one finds nothing to rename."""
    make_queue(tmp_path, "a")
    spool, name = Spool(tmp_path, None), Name("a", 1, "w", "00000000")
    (tmp_path / "ready/a.json").rename(spool.claimed(name))
    assert spool.enter(name, tmp_path / "ready/a.json", b"new") is not None
    assert spool.claimed(name).read_bytes() == b"new"


def test_done_without_an_output_is_refused_and_the_claim_stands(tmp_path: Path) -> None:
    queue = make_queue(tmp_path, "a")
    claim = queue.claim()
    assert claim is not None
    (tmp_path / "out/a.npz").write_bytes(b"of an earlier run")
    with pytest.raises(FileNotFoundError):
        claim.done()
    claim.check()
    claim.done(outputs=())
    assert places(tmp_path) == {"a": ["done"]}
    assert (tmp_path / "out/a.npz").read_bytes() == b"of an earlier run"


def test_an_output_that_cannot_get_its_name_is_an_error_of_that_job(tmp_path: Path) -> None:
    queue = make_queue(tmp_path, "a", max_attempts=1)
    claim = queue.claim()
    assert claim is not None
    claim.temporary.write_bytes(b"features")
    (tmp_path / "out/a.npz").mkdir()
    with pytest.raises(FencedError, match="could not be published"):
        claim.done()
    assert "could not be published" in queue.status().failed["a"]
    assert names(tmp_path / "out") == ["a.npz"]


def test_a_job_is_not_given_back_as_long_as_its_late_worker_could_publish_it(tmp_path: Path) -> None:
    clock = Clock()
    queue = make_queue(tmp_path, "a", now=clock)
    claim = queue.claim()
    assert claim is not None
    (tmp_path / "out/a.npz").write_bytes(b"of an earlier run")
    claim.temporary.mkdir()  # can neither be renamed over a file nor unlinked
    with pytest.raises(FencedError, match="could not be published"):
        claim.done()
    assert queue.status().claimed[0].to == "done"
    claim.temporary.rmdir()
    clock.time_s += 61
    queue.reclaim_expired()
    work(queue)
    assert_finished(tmp_path, "a")


def test_a_queue_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no queue"):
        Queue(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
    with pytest.raises(InputError, match="worker 'a/b'"):
        Queue(tmp_path, worker="a/b", create=True)


# --- tickets that are none, and files that are no tickets

MALFORMED = {
    "empty": b"",
    "not JSON": b"{half",
    "not UTF-8": b"\xff\xfe",
    "an array": b"[]",
    "NaN": b'{"job": "x", "shard": "s", "out": "o", "sae": {"a": NaN}}',
    "deep": b"[" * 100_000,
    "deep object": b'{"job": "x", "shard": "s", "out": "o", "sae": ' + b'{"a":' * 400 + b"1" + b"}" * 401,
    "large": b'{"job": "x", "shard": "s", "out": "o", "sae": {}, "select": {"a": "' + b"x" * (1 << 20) + b'"}}',
    "no out": b'{"job": "x", "shard": "s", "sae": {}}',
    "another job": b'{"job": "y", "shard": "s", "out": "o", "sae": {}}',
    "a path as job": b'{"job": "../x", "shard": "s", "out": "o", "sae": {}}',
    "sae a list": b'{"job": "x", "shard": "s", "out": "o", "sae": []}',
    "attempts a bool": b'{"job": "x", "shard": "s", "out": "o", "sae": {}, "attempts": true}',
    "attempts negative": b'{"job": "x", "shard": "s", "out": "o", "sae": {}, "attempts": -1}',
    "attempts huge": b'{"job": "x", "shard": "s", "out": "o", "sae": {}, "attempts": 1' + b"0" * 99 + b"}",
    "out a folder": b'{"job": "x", "shard": "s", "out": "/", "sae": {}}',
    "NUL": b'{"job": "x", "shard": "s\\u0000", "out": "o", "sae": {}}',
    "surrogate": b'{"job": "x", "shard": "\\ud800", "out": "o", "sae": {}}',
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_ticket_goes_to_failed_with_the_reason_and_stops_nobody(tmp_path: Path, kind: str) -> None:
    queue = make_queue(tmp_path, ["y"])
    (tmp_path / "ready/x.json").write_bytes(MALFORMED[kind])
    if kind == "deep object":  # whether it is too deep is up to the interpreter
        while (claim := queue.claim()) is not None:
            claim.temporary.write_bytes(b"")
            claim.done()
        assert places(tmp_path).keys() == {"x", "y"}
        return
    assert work(queue) == ["y"]
    assert places(tmp_path) == {"x": ["failed"], "y": ["done"]}
    ticket = read(tmp_path / "failed/x.json")
    assert set(NINE) <= ticket.keys()
    assert "ticket of 'x'" in ticket["error"]
    assert ticket["malformed"] == MALFORMED[kind][:4096].decode("utf-8", "replace")
    assert queue.status().failed["x"] == ticket["error"]
    assert queue.retry() == []
    assert queue.submit([make_ticket("x")], again=True) == 1
    work(queue)
    assert_finished(tmp_path, "xy")


def test_a_claimed_or_decided_ticket_that_rots_goes_to_failed(tmp_path: Path) -> None:
    clock = Clock()
    queue = make_queue(tmp_path, "ab", now=clock)
    first, second = queue.claim(), queue.claim()
    assert first is not None
    assert second is not None
    first._path.write_bytes(b"{")
    second._path.write_bytes(b"{")
    second._path.rename(tmp_path / "claimed" / second._path.name.replace(".json", ".to-done.json"))
    clock.time_s = time.time() + AN_HOUR_S
    assert sorted(queue.reclaim_expired()) == ["a", "b"]
    assert all("not JSON" in error for error in queue.status().failed.values())
    assert len(queue.status().failed) == 2


def test_foreign_files_and_folders_are_left_alone_and_listed(tmp_path: Path) -> None:
    queue = make_queue(tmp_path, "a")
    foreign = ["ready/notes.txt", "ready/x.json~", "claimed/x.json", "claimed/README", "done/a.npz", "failed/why"]
    foreign.append(f"ready/{'x' * 200}.json")
    for name in foreign:
        (tmp_path / name).write_bytes(b"{}")
    (tmp_path / "ready/folder.json").mkdir()
    (tmp_path / "ready/link.json").symlink_to("nowhere")
    os.mkfifo(tmp_path / "ready/pipe.json")
    (tmp_path / "ready/.hidden.json").write_bytes(b"{}")
    assert work(queue) == ["a"]
    queue.reclaim_expired()
    queue.retry()
    assert sorted(queue.status().foreign) == sorted(foreign)
    assert all((tmp_path / name).exists() for name in foreign)


ODD = [
    "with space",
    "späße-日本語-🙂",
    "a.1.w.deadbeef",
    "a.1.w.deadbeef.to-done",
    "[x]*?",
    "-rf",
    "x.json",
    "\udcff",
    "ü" * 90,
]


def test_odd_names_are_fine_all_the_way(tmp_path: Path) -> None:
    clock = Clock()
    queue = make_queue(tmp_path, ODD, now=clock, worker="w" * 40)
    claims = [queue.claim() for _ in ODD]
    clock.time_s += 61
    assert sorted(queue.reclaim_expired()) == sorted(ODD)
    assert all(claims)
    for _ in range(2):
        for _ in ODD:
            claim = queue.claim()
            assert claim is not None
            claim.fail("no")
    assert sorted(queue.status().failed) == sorted(ODD)
    assert len(queue.retry()) == len(ODD)
    claim = queue.claim()
    assert claim is not None
    claim.put_back()
    assert sorted(work(queue)) == sorted(ODD)
    assert queue.status().foreign == []
    assert [names(tmp_path / state) for state in ("ready", "claimed", "failed")] == [[], [], []]


@pytest.mark.parametrize(
    "job", ["", ".", "..", "../x", "a/b", "/etc/passwd", ".hidden", "a\0b", "a\nb", "\ud800", "x" * 181]
)
def test_a_name_that_could_leave_the_folder_is_refused(tmp_path: Path, job: str) -> None:
    with pytest.raises(InputError, match="expected a name"):
        make_ticket(job)


def test_keys_that_are_not_known_come_through(tmp_path: Path) -> None:
    data = json.dumps({"job": "a", "shard": "s", "out": "out/a.npz", "sae": {}, "future": [1]}).encode()
    assert json.loads(Ticket.from_json(data, "a").to_json())["future"] == [1]


# --- late workers, one step at a time


def test_whoever_takes_a_fresh_claim_away_first_takes_away_what_would_bring_it_back(tmp_path: Path) -> None:
    """A worker stops after it moved the job to claimed/, before its new content is there, and is taken for dead."""
    clock = Clock()
    queue = make_queue(tmp_path, "a", now=clock)
    spool = Spool(tmp_path, clock)
    name = Name("a", 1, "late", "00000000")
    spool.write_next(name, make_ticket("a", attempts=1, worker="late").to_json())
    (tmp_path / "ready/a.json").rename(spool.claimed(name))
    assert queue.reclaim_expired() == []
    clock.time_s += 61
    assert queue.reclaim_expired() == ["a"]
    assert read(tmp_path / "ready/a.json")["attempts"] == 1
    spool.consume_next(name)
    assert_one_state_each(tmp_path, "a")
    assert names(tmp_path / "claimed") == []


def test_a_ticket_that_changed_since_it_was_read_is_not_claimed(tmp_path: Path) -> None:
    """Between reading and claiming, the job was claimed, failed and given back: an attempt more has been made."""
    queue = make_queue(tmp_path, "a")
    spool = Spool(tmp_path, None)
    stale = (tmp_path / "ready/a.json").read_bytes()
    claim = queue.claim()
    assert claim is not None
    claim.fail("x")
    now = (tmp_path / "ready/a.json").read_bytes()
    assert spool.enter(Name("a", 1, "w", "00000000"), tmp_path / "ready/a.json", b"wrong", expected=stale) is None
    assert (tmp_path / "ready/a.json").read_bytes() == now
    assert names(tmp_path / "claimed") == []


def test_a_verdict_is_final_also_when_its_worker_stops_before_it_publishes(tmp_path: Path) -> None:
    clock = Clock()
    queue = make_queue(tmp_path, "a", now=clock)
    claim = queue.claim()
    assert claim is not None
    claim.temporary.write_bytes(b"features")
    decided = Name.parse(claim._path.name.replace(".json", ".to-done.json"))
    assert decided is not None
    claim._spool.enter(decided[0], claim._path, done_ticket(claim).to_json())
    assert queue.status().claimed[0].to == "done"
    clock.time_s += 61
    assert queue.reclaim_expired() == ["a"]
    assert (tmp_path / "out/a.npz").read_bytes() == b"features"
    queue.submit([make_ticket("a")], again=True)
    work(queue, by="successor")
    assert claim._verdicts.roll_forward(decided[0]) is None  # the late worker goes on where it was
    assert_finished(tmp_path, "a", by="successor")


def test_an_output_of_an_earlier_run_is_not_taken_for_one_that_was_lost(tmp_path: Path) -> None:
    """Somebody removes the temporary output of a job that was decided to be done."""
    clock = Clock()
    queue = make_queue(tmp_path, "a", now=clock)
    work(queue, by="earlier")
    queue.submit([make_ticket("a")], again=True)
    claim = queue.claim()
    assert claim is not None
    claim.temporary.write_bytes(encoded("a"))
    claim._spool.enter(replace(claim._name, to="done"), claim._path, done_ticket(claim).to_json())
    claim.temporary.unlink()
    clock.time_s += 61
    queue.reclaim_expired()
    assert "could not be published" in read(tmp_path / "ready/a.json")["error"]
    work(queue)
    assert_finished(tmp_path, "a")


def test_what_is_swept_are_temporaries_of_claims_that_are_over(tmp_path: Path) -> None:
    clock = Clock()
    queue = make_queue(tmp_path, ["a", "a.npz.b"], now=clock)
    late, other = queue.claim(), queue.claim()
    assert late is not None
    assert other is not None
    clock.time_s += 61
    other.renew()
    queue.reclaim_expired()
    late.temporary.write_bytes(b"woke up, and was killed")
    late.temporary.with_name(f"{late.temporary.name}.0badcafe.tmp").write_bytes(b"made by atomic_write")
    other.temporary.write_bytes(b"alive")
    (tmp_path / "out/a.npz.mine.tmp").write_bytes(b"of the user")
    assert work(queue) == ["a"]
    assert names(tmp_path / "out") == sorted(["a.npz", other.temporary.name, "a.npz.mine.tmp"])


def test_a_worker_under_this_kernel_that_died_is_not_waited_for(tmp_path: Path) -> None:
    queue = make_queue(tmp_path, "abc", lease_s=1000)
    dead, alive = queue.claim(), queue.claim()
    elsewhere = Queue(tmp_path, worker="otherhost-0b00b5-1-ffff", lease_s=1000).claim()
    assert dead is not None
    assert alive is not None
    assert elsewhere is not None
    dead._grip.close()  # as the kernel does for a process that ends
    elsewhere._grip.close()
    assert queue.worker.startswith(kernel_tag())
    later = Queue(tmp_path, now=lambda: time.time() + 10, lease_s=1000)
    assert later.reclaim_expired() == ["a"]
    alive.check()
    elsewhere.check()


# --- processes


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cc") is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a C compiler named cc, and LD_PRELOAD")
    path = tmp_path_factory.mktemp("shim") / "queue_shim.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", path, HERE / "queue_shim.c", "-ldl"], check=True)
    return path


class Zygote:
    """The other end of `queueing.py zygote`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def act(self, root: Path, action: str, n: int, with_signal: int, max_attempts: int = 9) -> Any:
        """Return "stopped", or the exit status: -9 when it was killed, 1 when it was fenced."""
        order = {"queue": str(root), "action": action, "n": n, "signal": with_signal, "max_attempts": max_attempts}
        return self._ask(json.dumps(order))

    def go_on(self) -> Any:
        return self._ask("")

    def _ask(self, line: str) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@pytest.fixture
def zygote(shim: Path) -> Iterator[Zygote]:
    command = [sys.executable, str(HERE / "queueing.py"), "zygote"]
    environment = os.environ | {"LD_PRELOAD": str(shim)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        yield Zygote(process)


def fail_all(queue: Queue) -> None:
    while (claim := queue.claim()) is not None:
        claim.fail("broken")


def claim_and_write(queue: Queue) -> None:
    while (claim := queue.claim()) is not None:
        claim.temporary.write_bytes(b"half")


# What each action finds, and how many calls it makes at least.
ACTIONS: dict[str, tuple[Callable[[Path], object], int]] = {
    "submit": (lambda root: None, 6),
    "work": (lambda root: make_queue(root, "ab"), 30),
    "fail": (lambda root: make_queue(root, "ab"), 14),
    "put back": (lambda root: make_queue(root, "ab"), 14),
    "retry": (lambda root: fail_all(make_queue(root, "ab", max_attempts=1)), 12),
    "submit again": (lambda root: work(make_queue(root, "ab")), 6),
    "reclaim": (lambda root: claim_and_write(make_queue(root, "ab")), 14),
}


@pytest.mark.parametrize("action", ACTIONS)
def test_a_crash_at_any_call_leaves_each_job_in_one_state_and_loses_none(
    tmp_path: Path, zygote: Zygote, action: str
) -> None:
    prepare, least = ACTIONS[action]
    for n in range(1, 200):
        root = tmp_path / f"{n}"
        make_queue(root)
        prepare(root)
        jobs = sorted(places(root))
        status = zygote.act(root, action, n, signal.SIGKILL)
        if action == "submit":
            jobs = sorted(places(root))
            assert set(jobs) <= {"a", "b"}
        assert_one_state_each(root, jobs)
        if status == 0:
            break
        assert status == -signal.SIGKILL
        recover(root)
        by_late = [job for job in jobs if (root / f"out/{job}.npz").read_bytes() == encoded(job, by="late")]
        for job in by_late:
            (root / f"out/{job}.npz").write_bytes(encoded(job))
        assert_finished(root, jobs)
        shutil.rmtree(root)
    print(f"{action}: {n - 1} crash points")
    assert n > least


def assert_nothing_lost(root: Path) -> None:
    """What a ticket says was made is there, and every result that is there is whole."""
    for state in ("ready", "done", "failed"):
        for path in (root / state).glob("*.json"):
            ticket = read(path)
            for folder in ticket["result"].get("saes", {}):
                assert (root / "out" / folder / "a.npz").read_bytes() == encoded(folder)


def assert_all_parts(root: Path) -> None:
    assert places(root) == {"a": ["done"]}
    found = sorted(path.relative_to(root / "out").as_posix() for path in (root / "out").rglob("*") if path.is_file())
    assert found == ["r/0/a.npz", "r/1/a.npz", "r/2/a.npz"], found
    assert_nothing_lost(root)
    assert len(read(root / "done/a.json")["result"]["saes"]) == 3


def test_a_crash_at_any_call_loses_no_result_of_a_job_of_several_saes(tmp_path: Path, zygote: Zygote) -> None:
    for n in range(1, 400):
        root = tmp_path / f"{n}"
        make_queue(root).submit([make_ticket("a", sae=several())])
        status = zygote.act(root, "work in parts", n, signal.SIGKILL)
        assert_one_state_each(root, "a")
        if status == 0:
            break
        assert status == -signal.SIGKILL
        hours_later = Queue(root, now=lambda: time.time() + AN_HOUR_S, max_attempts=9)
        hours_later.reclaim_expired()
        assert_nothing_lost(root)
        work_in_parts(hours_later)
        assert_all_parts(root)
        shutil.rmtree(root)
    assert n > 50, n


def test_a_worker_of_several_saes_that_wakes_up_late_publishes_over_nobody(tmp_path: Path, zygote: Zygote) -> None:
    for n in range(1, 400):
        root = tmp_path / f"{n}"
        make_queue(root).submit([make_ticket("a", sae=several())])
        if zygote.act(root, "work in parts", n, signal.SIGSTOP) != "stopped":
            break
        successor = Queue(root, now=lambda: time.time() + AN_HOUR_S, max_attempts=9)
        successor.reclaim_expired()
        work_in_parts(successor)
        assert_all_parts(root)
        inodes = {path: path.stat().st_ino for path in (root / "out").rglob("*.npz")}
        assert zygote.go_on() in (0, 1)
        assert_all_parts(root)
        assert {path: path.stat().st_ino for path in (root / "out").rglob("*.npz")} == inodes
        shutil.rmtree(root)
    assert n > 50, n


@pytest.mark.parametrize("successor_is", ["half way", "done", "done, and another after it"])
def test_a_worker_stopped_before_any_call_and_woken_late_cannot_overwrite_its_successor(
    tmp_path: Path, zygote: Zygote, successor_is: str
) -> None:
    """Stop it before each call, let others do the job, wake it up. If its claim was decided, its output stands."""
    outcomes: Counter[str] = Counter()
    for n in range(1, 200):
        root = tmp_path / f"{n}"
        make_queue(root, "a")
        if zygote.act(root, "work", n, signal.SIGSTOP) != "stopped":
            break
        assert_one_state_each(root, "a")
        successor = Queue(root, now=lambda: time.time() + AN_HOUR_S)
        successor.reclaim_expired()
        claim = successor.claim()
        by = "late" if claim is None else "successor"
        if claim is not None:
            claim.temporary.write_bytes(encoded("a", by="successor"))
            if successor_is != "half way":
                claim.done()
        if successor_is == "done, and another after it":
            assert successor.submit([make_ticket("a")], again=True) == 1
            by = "successor"
            work(successor, by)
        status = zygote.go_on()
        assert status in (0, 1)
        if claim is not None and successor_is == "half way":
            assert not (root / "out/a.npz").exists()
            claim.done()
        assert_finished(root, "a", by)
        outcomes["fenced" if status else "not fenced"] += 1
        outcomes[by] += 1
    print(n, dict(outcomes))
    assert n > 15
    assert outcomes["fenced"] >= 3
    assert outcomes["successor"] >= 10


def test_anyone_may_wake_up_anywhere_while_the_job_fails_and_is_given_back(tmp_path: Path, zygote: Zygote) -> None:
    """As above for the other ways out: a late verdict changes nothing any more."""
    for action in ("fail", "put back", "reclaim", "retry"):
        for n in range(1, 200):
            root = tmp_path / f"{action}-{n}"
            make_queue(root)
            ACTIONS[action][0](root)
            if zygote.act(root, action, n, signal.SIGSTOP) != "stopped":
                break
            recover(root)
            assert_finished(root, "ab")
            assert zygote.go_on() in (0, 1)
            assert_finished(root, "ab")
        assert n > ACTIONS[action][1]


def start_worker(root: Path, lease_s: float, job_s: float) -> subprocess.Popen[str]:
    command = [sys.executable, str(HERE / "queueing.py"), "work", str(root), str(lease_s), str(job_s)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_of_workers_that_race_each_job_goes_to_exactly_one(tmp_path: Path) -> None:
    jobs = [f"{index:03}" for index in range(200)]
    make_queue(tmp_path, jobs)
    workers = [start_worker(tmp_path, 60, job_s=0.002) for _ in range(3)]
    looks = 0
    queue = Queue(tmp_path)
    while not (status := queue.status()).is_finished:  # and looking on is never an error
        everywhere = [*status.ready, *(one.job for one in status.claimed), *status.done, *status.failed]
        assert len(everywhere) == len(set(everywhere))
        looks += 1
    did = [worker.communicate()[0].split()[1:] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert sorted(job for one in did for job in one) == jobs
    assert sum(1 for one in did if one) >= 2
    assert looks > 5
    assert_finished(tmp_path, jobs)
    assert all(read(tmp_path / f"done/{job}.json")["attempts"] == 1 for job in jobs)


def test_submitters_that_race_submit_each_job_once(tmp_path: Path) -> None:
    jobs = [f"{index:02}" for index in range(50)]
    make_queue(tmp_path)
    counts: list[int] = []
    threads = [
        threading.Thread(target=lambda: counts.append(Queue(tmp_path).submit([make_ticket(job) for job in jobs])))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    work(Queue(tmp_path))
    for thread in threads:
        thread.join()
    assert sum(counts) == 50
    work(Queue(tmp_path))
    assert_finished(tmp_path, jobs)
    assert all(read(tmp_path / f"done/{job}.json")["attempts"] == 1 for job in jobs)


def test_workers_killed_at_random_instants_lose_nothing_and_leave_nothing(tmp_path: Path) -> None:
    jobs = [f"{index:03}" for index in range(600)]
    make_queue(tmp_path, jobs)
    dice = random.Random(5)
    workers: list[subprocess.Popen[str]] = []
    n_killed = 0
    while n_killed < 10 and not Queue(tmp_path).status().is_finished:
        while len(workers) < 2:
            workers.append(start_worker(tmp_path, 0.3, job_s=0.005))
            assert workers[-1].stdout is not None
            workers[-1].stdout.readline()
        time.sleep(dice.uniform(0, 0.06))
        victim = workers.pop(dice.randrange(2))
        victim.kill()
        n_killed += 1
        victim.communicate()
        assert len(Queue(tmp_path).states()) == len(jobs)
    for worker in workers:
        worker.kill()
        worker.communicate()
    assert_one_state_each(tmp_path, jobs)
    assert n_killed == 10
    recover(tmp_path)
    assert_finished(tmp_path, jobs)


def test_a_worker_stopped_past_its_lease_is_fenced_when_it_wakes(tmp_path: Path) -> None:
    jobs = [f"{index:03}" for index in range(300)]
    make_queue(tmp_path, jobs)
    with start_worker(tmp_path, 0.3, job_s=0.002) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        held: list[str] = []
        while not held:
            os.kill(worker.pid, signal.SIGSTOP)
            os.waitpid(worker.pid, os.WUNTRACED)
            # One whose ticket says so: a claim that is half made when it is taken away is dropped, and is no error.
            is_changing = any(name.endswith(".next") for name in names(tmp_path / "claimed"))
            held = [one.job for one in Queue(tmp_path).status().claimed if not one.to and not is_changing]
            if not held:  # let it get to another moment: stopped again at once, it would go on for ever in this one
                os.kill(worker.pid, signal.SIGCONT)
                time.sleep(random.uniform(0, 0.004))
        successor = Queue(tmp_path, lease_s=0.3)
        while not successor.reclaim_expired():
            time.sleep(0.02)
        claim = None
        while claim is None or claim.ticket.job != held[0]:
            claim = successor.claim()
            assert claim is not None
            claim.temporary.write_bytes(encoded(claim.ticket.job, by="successor"))
            claim.done()
        os.kill(worker.pid, signal.SIGCONT)
        worker.communicate()
        assert worker.returncode != 0  # FencedError
    assert (tmp_path / f"out/{held[0]}.npz").read_bytes() == encoded(held[0], by="successor")
    assert_one_state_each(tmp_path, jobs)
