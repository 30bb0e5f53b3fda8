"""What the tests of the queue share, and the tiny worker that they run as a process: it "encodes" by writing a file.

python queueing.py work QUEUE LEASE_S JOB_S     work until the queue is finished, printing each job that it did
python queueing.py zygote                       fork, for each line on stdin, a process that does one thing with a
                                                queue, and is killed or stopped at its n-th system call; needs
                                                `queue_shim.c` preloaded
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from encoder.errors import FencedError
from encoder.queue.claim import Claim
from encoder.queue.publish import mark_of
from encoder.queue.queue import Queue
from encoder.queue.ticket import Ticket

STATES = ("ready", "claimed", "done", "failed")
AN_HOUR_S = 3600.0


def make_ticket(job: str, **fields: Any) -> Ticket:
    usual = {"job": job, "shard": f"shards/{job}.npy", "out": f"out/{job}.npz", "sae": {"sae_id": "x"}}
    return Ticket(**usual | fields)


def make_queue(root: Path, jobs: Iterable[str] = (), **settings: Any) -> Queue:
    queue = Queue(root, create=True, **settings)
    (root / "out").mkdir(exist_ok=True)
    queue.submit([make_ticket(job) for job in jobs])
    return queue


def names(folder: Path) -> list[str]:
    """List a folder, without the `_run.json` that every run leaves with its results."""
    return sorted(path.name for path in folder.iterdir() if path.name != "_run.json")


def places(root: Path) -> dict[str, list[str]]:
    """Return the folders of each job's .json files, by what is in the tickets where names do not say it."""
    found: dict[str, list[str]] = {}
    for state in STATES:
        for path in sorted((root / state).glob("*.json")):
            job = path.name.removesuffix(".json") if state != "claimed" else json.loads(path.read_bytes())["job"]
            found.setdefault(job, []).append(state)
    return found


def assert_one_state_each(root: Path, jobs: Iterable[str]) -> None:
    found = places(root)
    assert {job: len(found.get(job, [])) for job in jobs} == dict.fromkeys(jobs, 1), found
    assert found.keys() == set(jobs)


def assert_finished(root: Path, jobs: Iterable[str], by: str | None = None) -> None:
    """Every job is done, its output is right, and nothing else is left anywhere."""
    assert names(root / "done") == sorted(f"{job}.json" for job in jobs)
    assert [names(root / state) for state in ("ready", "claimed", "failed")] == [[], [], []]
    assert names(root / "out") == sorted(f"{job}.npz" for job in jobs)
    for job in jobs:
        assert (root / "out" / f"{job}.npz").read_bytes() == encoded(job, by)


def encoded(job: str, by: str | None = None) -> bytes:
    return f"features of {job}{f' by {by}' if by else ''}".encode("utf-8", "surrogateescape") * 20


def work(queue: Queue, by: str | None = None, on_claim: Any = None) -> list[str]:
    """Work until there is nothing in ready/; return what was done."""
    did = []
    while (claim := queue.claim()) is not None:
        if on_claim:
            on_claim()
        claim.temporary.write_bytes(encoded(claim.ticket.job, by))
        claim.done()
        did.append(claim.ticket.job)
    return did


def several(n_saes: int = 3) -> dict[str, Any]:
    """Return a ticket's `sae` of several SAEs."""
    return {"saes": [{"folder": f"r/{i}", "sae_id": str(i)} for i in range(n_saes)]}


def work_in_parts(queue: Queue) -> None:
    """Work as one does that loads one SAE at a time: each attempt publishes a result and puts the job back."""
    while (claim := queue.claim()) is not None:
        said = dict(claim.ticket.result.get("saes", {}))
        target = next(one for one in claim.ticket.targets if one.folder not in said)
        out = claim.place_of(target)
        out.parent.mkdir(parents=True, exist_ok=True)
        claim.temporary_for(out).write_bytes(encoded(target.folder))
        said[target.folder] = {"rows": 1}
        is_last = len(said) == len(claim.ticket.targets)
        (claim.done if is_last else claim.put_back)({"saes": said}, [out])


def done_ticket(claim: Claim) -> Ticket:
    """Return the ticket of a verdict that publishes what was written for the claim."""
    return replace(claim.ticket, extra={"outputs": {str(claim.out): mark_of(claim.temporary.stat())}})


def recover(root: Path) -> None:
    """Finish what others left, hours later."""
    queue = Queue(root, now=lambda: time.time() + 3 * AN_HOUR_S, max_attempts=9)
    queue.reclaim_expired()
    queue.retry()
    work(queue)


def act(queue: Queue, action: str) -> None:
    """Do one thing of which every step is to be crashed."""
    if action == "submit":
        queue.submit([make_ticket("a"), make_ticket("b")])
    elif action == "submit again":
        queue.submit([make_ticket("a", sae={"sae_id": "y"})], again=True)
    elif action == "retry":
        queue.retry()
    elif action == "reclaim":
        Queue(queue.root, now=lambda: time.time() + AN_HOUR_S, max_attempts=1).reclaim_expired()
    elif action == "work in parts":
        work_in_parts(queue)
    elif action == "work":
        work(queue, by="late")
    else:
        claim = queue.claim()
        if claim is None:  # taken away while it was stopped
            return
        claim.temporary.write_bytes(b"half")
        claim.put_back() if action == "put back" else claim.fail("broken", "Traceback ...")


def _zygote() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if not child:
            status = 99
            try:
                queue = Queue(Path(order["queue"]), max_attempts=order["max_attempts"])
                ctypes.CDLL(None).arm(order["n"], order["signal"])
                act(queue, order["action"])
                status = 0
            except FencedError:
                status = 1
            except Exception:
                traceback.print_exc()
            finally:
                os._exit(status)
        status = os.waitpid(child, os.WUNTRACED)[1]
        if os.WIFSTOPPED(status):
            print(json.dumps("stopped"), flush=True)
            sys.stdin.readline()
            os.kill(child, signal.SIGCONT)
            status = os.waitpid(child, 0)[1]
        print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)


def _work_until_finished(root: Path, lease_s: float, job_s: float) -> None:
    queue = Queue(root, lease_s=lease_s, max_attempts=1000)
    print("started", flush=True)
    while not queue.status().is_finished:
        queue.reclaim_expired()
        for job in work(queue, on_claim=lambda: time.sleep(job_s)):
            print(job, flush=True)
        time.sleep(0.01)


if __name__ == "__main__":
    if sys.argv[1] == "zygote":
        _zygote()
    else:
        _work_until_finished(Path(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
