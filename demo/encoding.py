"""The demo encodes the captured texts: a queue, two workers, and one of them killed in the middle of a shard.

A stand-in for the model hub on loopback serves the SAE. SAELens downloads the SAE as it would from the real hub.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

from demo.published import HUB, REPOSITORY, SAE_ID
from demo.stage import LONGEST_S, expect, output, run, shown, standin, title, wait_until
from encoder.queue.queue import Held, Queue

N_DONE_BEFORE = 5


def encode(out: Path) -> None:
    """Encode `out`/activations by way of `out`/queue and index what came out."""
    queue = out / "queue"
    title("Put them on a queue, start two workers, and kill one")
    sae = ["--sae-release", REPOSITORY, "--sae-id", SAE_ID]
    run("the shards are submitted", "sae-encode", ["submit", str(out / "activations"), "--queue", str(queue), *sae])
    n_shards = len(Queue(queue).status().ready)
    hub = ["--repo", REPOSITORY, "--root", str(HUB)]
    with standin("standin.hub", hub, out / "hub.json") as address:
        _work(queue, {**os.environ, "HF_ENDPOINT": address["endpoint"], "HF_HOME": str(out / "hf")})
    status = json.loads(output("sae-encode", ["status", "--queue", str(queue), "--json"]))
    print(f"{len(status['done'])} of {n_shards} are done, {len(status['failed'])} failed")
    expect("every shard is done", len(status["done"]) == n_shards and not status["failed"])

    title("Turn the features round: where does each of them fire?")
    run("index", "sae-encode", ["index", str(queue / "out")])


def _work(root: Path, environment: dict[str, str]) -> None:
    """Start two workers, kill one of them in the middle of a shard, and wait for the other."""
    queue = Queue(root)
    work = shown("sae-encode", ["work", "--queue", str(root), "--quiet"])
    shown("sae-encode", ["work", "--queue", str(root), "--quiet"])
    workers = [subprocess.Popen(work, env=environment) for _ in range(2)]
    try:
        victim, held = _caught(queue, workers)
        victim.kill()
        print(f"(the worker in the middle of {held.job} is killed: kill -9 {victim.pid})", flush=True)
        victim.wait()
        (other,) = (worker for worker in workers if worker is not victim)
        expect("the other worker does the rest", other.wait(LONGEST_S) == 0)
    finally:
        for worker in workers:
            worker.kill()


def _caught(queue: Queue, workers: list[subprocess.Popen[bytes]]) -> tuple[subprocess.Popen[bytes], Held]:
    """Stop a worker in the middle of a shard, once a few shards are done; return the worker and its claim."""
    caught: list[tuple[subprocess.Popen[bytes], Held]] = []

    def is_caught() -> bool:
        expect("a worker is in the middle of a shard", all(worker.poll() is None for worker in workers))
        status = queue.status()
        for worker in workers if len(status.done) >= N_DONE_BEFORE else ():
            worker.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, worker.pid, os.WSTOPPED | os.WNOWAIT)
            for held in queue.status().claimed:
                if f"-{worker.pid}-" in held.worker and not held.to:
                    caught.append((worker, held))
                    return True
            worker.send_signal(signal.SIGCONT)  # the worker was between two shards
        return False

    wait_until(is_caught)
    return caught[0]
