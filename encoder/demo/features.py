"""The encoder's part of `make demo`: shards in three formats, two workers, one of them killed half way.

A stand-in for the model hub on loopback serves the SAE; SAELens downloads it as it would from the real one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from encoder import LabelledFeatures, open_features
from encoder.demo.made_up import TEXT, write_params, write_shards
from encoder.queue import Held, Queue
from saefetch import open_labels
from saefetch.demo.stage import LONGEST_S, expect, output, shown, title, wait_until
from saefetch.identity import DEFAULT_RELEASE, DEFAULT_SAE_ID

REPOSITORY, FOLDER = "google/gemma-scope-2b-pt-res", "layer_16/width_16k/average_l0_78"
N_TOKENS = 2048
SHOWN_TOKENS = 5


def features(out: Path) -> None:
    """Encode made-up activations under `out` and show what fires on some tokens, with the labels of `out`/sae."""
    title("Make up an SAE in GemmaScope's shape, and activations in three formats")
    decoder = write_params(out / "hub" / FOLDER / "params.npz")
    with open_labels(out / "sae") as labels:
        write_shards(out / "activations", decoder, labels, N_TOKENS)
    for path in sorted((out / "activations").iterdir()):
        print(f"{path}  {path.stat().st_size / 1e6:.0f} MB")

    queue = out / "queue"
    title("Put them on a queue, and start two workers")
    sae = ["--sae-release", DEFAULT_RELEASE, "--sae-id", DEFAULT_SAE_ID]
    submit = [
        "submit",
        str(out / "activations"),
        "--queue",
        str(queue),
        *sae,
    ]
    expect("the shards are submitted", subprocess.run(shown("sae-encode", submit)).returncode == 0)
    with _hub(out) as environment:
        _work(queue, environment)

    title("What came out")
    found = out / "queue" / "out"
    expect("stats", subprocess.run(shown("sae-encode", ["stats", str(found)])).returncode == 0)
    status = json.loads(output("sae-encode", ["status", "--queue", str(queue), "--json"]))
    expect("every shard is done", len(status["done"]) == 3 and not status["failed"])

    title("What fires on the first tokens of the captured prompt, and what it means")
    with open_labels(out / "sae") as labels, open_features(found) as everything:
        (at,) = (i for i, path in enumerate(everything.paths) if path.stem == "capture")
        first = sum(everything.meta[i]["rows"] for i in range(at))
        joined = LabelledFeatures(everything, labels)
        for row, token in enumerate(TEXT.split()[:SHOWN_TOKENS]):
            print(token)
            for active in joined.strongest(first + row, 3):
                print(f"    {active.index:6,}  {active.value:6.2f}  {' '.join((active.description or '-').split())}")
    print(f"\nThe features: {found}")


def _work(queue_folder: Path, environment: dict[str, str]) -> None:
    """Start two workers; when one shard is done, kill one in the middle of another; wait for the other."""
    queue = Queue(queue_folder)
    work = shown("sae-encode", ["work", "--queue", str(queue_folder)])
    shown("sae-encode", ["work", "--queue", str(queue_folder)])
    workers = [subprocess.Popen(work, env=environment) for _ in range(2)]

    held: list[Held] = []

    def is_half_way() -> bool:
        status = queue.status()
        held[:] = [claim for claim in status.claimed if not claim.to]
        return bool(status.done and held) or status.is_finished

    try:
        wait_until(lambda: is_half_way() or any(worker.poll() is not None for worker in workers))
        expect("a worker is in the middle of a shard", bool(held))
        victim, other = sorted(workers, key=lambda worker: f"-{worker.pid}-" not in held[0].worker)
        victim.send_signal(signal.SIGKILL)
        print(f"(the worker in the middle of {held[0].job} is killed: kill -9 {victim.pid})", flush=True)
        victim.wait()
        expect("the other worker does the rest", other.wait(LONGEST_S) == 0)
    finally:
        for worker in workers:
            worker.kill()


@contextmanager
def _hub(out: Path) -> Iterator[dict[str, str]]:
    """Serve `out`/hub as the SAE's repository; yield the environment in which the hub's client finds it."""
    ready = out / "hub.json"
    command = [sys.executable, "-m", "saefetch.standin.hub", "--repo", REPOSITORY, "--root", str(out / "hub")]
    process = subprocess.Popen([*command, "--ready-file", str(ready)], stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: ready.is_file() or process.poll() is not None)
        expect("the hub's stand-in starts", process.poll() is None)
        endpoint = json.loads(ready.read_text())["endpoint"]
        yield {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(out / "hf")}
    finally:
        process.terminate()
        process.wait()
