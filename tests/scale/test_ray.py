"""`--engine ray` on a cluster of a head and two machines, which are processes here, and what is left when some die.

One cluster for all tests. A machine that a test removes is replaced at its end. Every run is compared byte by byte with
one that needed no cluster.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import encoding
import numpy as np
import psutil
import pytest
import torch
from encoding import Site
from s3_server import BUCKET, S3Server

from encoder.engines.run import Ended, run
from encoder.options import Options
from encoder.stores.object_path import path_of

pytestmark = pytest.mark.scale
ROOT = Path(__file__).resolve().parents[2]
N_SHARDS = 8
SLOW = {"backend": "reference", "batch_tokens": 8}
"""So that a shard takes a second or so, and there is a middle to be killed in."""
STORE_BYTES = 80 << 20


class Machines:
    """A cluster: a head without room for a worker, and machines with one CPU each."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes: list[Any] = []
        self.fill()

    def fill(self) -> None:
        while len(self.nodes) < 2:
            self.nodes.append(self._cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES))

    def remove(self, worker: psutil.Process) -> None:
        """Kill everything that runs on a worker's machine, and tell nobody."""
        (node,) = [node for node in self.nodes if self._raylet_of(node) in {one.pid for one in worker.parents()}]
        self.nodes.remove(node)
        self._cluster.remove_node(node, allow_graceful=False)

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    @property
    def at_work(self) -> list[psutil.Process]:
        """The workers that have a shard in hand."""
        found = []
        for node in self.nodes:
            for process in psutil.Process(self._raylet_of(node)).children(recursive=True):
                with suppress(psutil.Error):
                    if process.cmdline()[:1] == ["ray::OnRay.encode"]:
                        found.append(process)
        return found

    def _raylet_of(self, node: Any) -> int:
        return int(node.all_processes["raylet"][0].process.pid)

    def close(self) -> None:
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def store() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture(scope="module")
def machines(store: S3Server) -> Iterator[Machines]:
    with pytest.MonkeyPatch.context() as patch:  # machines have credentials in their own environment
        for name, value in (store.environment | {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}).items():
            patch.setenv(name, value)
        machines = Machines()
        yield machines
        machines.close()


@pytest.fixture(scope="module")
def long_site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Shards in several formats, long enough to be killed in, and one that is not done when the next one is."""
    site = Site(tmp_path_factory.mktemp("site"))
    site.shard("long", 20_000, 9)
    for number in range(N_SHARDS - 3):
        site.shard(f"s{number}", 4000 + number, number, torch.bfloat16)
    np.save(site.acts / "n.npy", encoding.planted(4000, site.weights, 20).numpy())
    torch.save({"hook": encoding.planted(4000, site.weights, 30, torch.float16)}, site.acts / "t.pt")
    return site


@pytest.fixture(scope="module")
def expected(long_site: Site) -> dict[str, bytes]:
    """Everything in the folder of results of a run on this machine alone."""
    out = long_site.folder / "alone"
    ended = run([long_site.acts], out, long_site.sae, Options(**SLOW), select={}, progress=False)
    assert ended.outcome["done"] == N_SHARDS and not ended.n_missing
    return left_in(out)


def left_in(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def on_ray(
    machines: Machines, site: Site, out: Path, progress: Callable[[int, int, str], object] | bool = False, **more: Any
) -> Ended:
    options = Options(engine="ray", ray_address=machines.address, **SLOW | more)
    return run([site.acts], out, site.sae, options, select={}, progress=progress)


class Watching:
    """Does something to a worker when a shard of another one is done; keeps the lines that it is told."""

    def __init__(self, machines: Machines, act: Callable[[psutil.Process], object]) -> None:
        self._machines, self._act, self.is_done = machines, act, False
        self.lines: list[str] = []

    def __call__(self, done: int, total: int, text: str) -> None:
        self.lines.append(text)
        if "L0" in text and not self.is_done and (at_work := self._machines.at_work):
            self._act(at_work[0])
            self.is_done = True


def test_a_cluster_makes_the_bytes_that_one_machine_makes(
    machines: Machines, long_site: Site, expected: dict[str, bytes], tmp_path: Path
) -> None:
    ended = on_ray(machines, long_site, tmp_path / "out")
    assert ended.outcome["done"] == N_SHARDS and not ended.n_missing
    assert ended.outcome["ray"] | {"worker_hours": 0} == {
        "workers": 2,
        "machines": 2,
        "worker_hours": 0,
        "workers_lost": 0,
    }
    assert ended.outcome["ray"]["worker_hours"] > 0
    assert left_in(tmp_path / "out") == expected


def test_a_machine_lost_in_mid_run_loses_nothing_and_doubles_nothing(
    machines: Machines, long_site: Site, expected: dict[str, bytes], tmp_path: Path
) -> None:
    watching = Watching(machines, machines.remove)
    ended = on_ray(machines, long_site, tmp_path / "out", watching)
    machines.fill()
    assert watching.is_done and not ended.n_missing, ended.outcome["errors"]
    assert ended.outcome["done"] + ended.outcome["skipped"] == N_SHARDS, "a shard that is given away again counts once"
    assert ended.outcome["ray"]["workers_lost"] == 1
    assert sum("given to another" in line for line in watching.lines) == 1
    assert left_in(tmp_path / "out") == expected


def test_a_worker_killed_in_the_middle_of_a_shard_loses_nothing(
    machines: Machines, long_site: Site, expected: dict[str, bytes], tmp_path: Path
) -> None:
    watching = Watching(machines, psutil.Process.kill)
    ended = on_ray(machines, long_site, tmp_path / "out", watching)
    assert watching.is_done and not ended.n_missing, ended.outcome["errors"]
    assert ended.outcome["ray"]["workers_lost"] == 1
    assert left_in(tmp_path / "out") == expected


def test_a_shard_that_cannot_be_encoded_stops_no_other_and_says_why(machines: Machines, site: Site) -> None:
    site.shard("good")
    (site.acts / "torn.safetensors").write_bytes((site.acts / "good.safetensors").read_bytes()[:-100])
    site.keep("nan", torch.full((4, encoding.D_IN), float("nan")))
    ended = on_ray(machines, site, site.out)
    assert sorted(ended.outcome["errors"]) == ["nan", "torn"] and ended.outcome["done"] == 1
    assert sorted(left_in(site.out)) == ["_failed/nan.json", "_failed/torn.json", "_run.json", "good.npz"]
    said = json.loads((site.out / "_failed" / "nan.json").read_bytes())
    assert said["attempts"] == 1 and "NaN" in said["error"] and "Traceback" in said["traceback"]
    site.shard("torn")
    site.shard("nan")
    assert not on_ray(machines, site, site.out).n_missing
    assert sorted(left_in(site.out)) == ["_run.json", "good.npz", "nan.npz", "torn.npz"]


def test_several_saes_are_encoded_as_on_one_machine(machines: Machines, site: Site) -> None:
    for number in range(3):
        site.shard(f"s{number}", 30 + number, number)
    saes = [
        {**site.sae, "sae_path": str(encoding.save_params(site.folder / f"{n}.npz", encoding.dictionary(seed=n)))}
        for n in range(3)
    ]
    for out, more in ((site.folder / "alone", {}), (site.out, {"engine": "ray", "ray_address": machines.address})):
        options = Options(saes_at_once=2, **more)
        ended = run([site.acts], out, saes, options, select={}, progress=False)
        assert not ended.n_missing and [one["results"] for one in ended.outcome["saes"]] == [3, 3, 3]
    assert left_in(site.out) == left_in(site.folder / "alone") and len(left_in(site.out)) == 12


def test_a_run_from_store_to_store_writes_each_result_once_and_leaves_nothing_else(
    machines: Machines, store: S3Server, site: Site
) -> None:
    for number in range(4):
        store.objects[f"acts/s{number}.safetensors"] = site.shard(f"s{number}", 30 + number, number).read_bytes()
    acts, done = f"s3://{BUCKET}/acts", {}
    for out, more in (("ray", {"engine": "ray", "ray_address": machines.address}), ("alone", {})):
        ended = run(
            [path_of(acts)], path_of(f"s3://{BUCKET}/{out}"), site.sae, Options(**more), select={}, progress=False
        )
        assert ended.outcome["done"] == 4 and not ended.n_missing, ended.outcome
        done[out] = {key.rpartition("/")[2]: data for key, data in store.objects.items() if key.startswith(f"{out}/")}
    assert done["ray"] == done["alone"] and sorted(done["ray"]) == ["_run.json", *(f"s{n}.npz" for n in range(4))]
    written = [key for method, key in store.requests if method == "PUT" and key.startswith("ray/s")]
    assert sorted(written) == [f"ray/s{number}.npz" for number in range(4)]


class Driver:
    """`sae-encode run` as a process."""

    def __init__(self, machines: Machines, site: Site, out: Path, *flags: object) -> None:
        config = site.folder / "slow.toml"
        config.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in SLOW.items()))
        words = ["run", site.acts, "--out", out, "--sae-path", site.params, "--engine", "ray", "--config", config]
        words += ["--ray-address", machines.address, *flags]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "encoder", *map(str, words)],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait_for_a_shard(self) -> str:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if "L0" in line:
                return line.partition(":")[0]
        raise AssertionError("it ended before any shard")

    def end(self, number: int | None = None) -> tuple[int, str, str]:
        if number is not None:
            self._process.send_signal(number)
        out, err = self._process.communicate(timeout=300)
        return self._process.returncode, out, err


def test_a_driver_that_was_killed_is_started_again_and_does_what_is_missing(
    machines: Machines, long_site: Site, expected: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = Driver(machines, long_site, out)
    job = first.wait_for_a_shard()
    assert first.end(signal.SIGKILL)[0] == -signal.SIGKILL
    before = (out / f"{job}.npz").stat()
    status, said, err = Driver(machines, long_site, out, "--json").end()
    assert status == 0, err
    outcome = json.loads(said)
    assert outcome["skipped"] >= 1 and outcome["skipped"] + outcome["done"] == N_SHARDS
    after = (out / f"{job}.npz").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns), (
        "what was finished is not made again"
    )
    assert left_in(out) == expected


def test_an_interrupted_run_leaves_nothing_half_done_and_says_how_to_resume(
    machines: Machines, long_site: Site, expected: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    driver = Driver(machines, long_site, out)
    driver.wait_for_a_shard()
    status, _, err = driver.end(signal.SIGINT)
    assert status == 130 and "To resume: " in err and "Traceback" not in err, err
    left = left_in(out)
    assert 1 < len(left) < len(expected) and left.items() <= expected.items()
    assert not on_ray(machines, long_site, out).n_missing
    assert left_in(out) == expected


def refused(machines: Machines, site: Site, *flags: object) -> str:
    """Return the one line that a run ends with at once."""
    site.shard("a")
    status, out, err = Driver(machines, site, site.out, "--quiet", *flags).end()
    assert (status, out) == (2, "") and err.startswith("sae-encode: ") and err.count("\n") == 1, err
    assert not [path for path in site.out.rglob("*") if path.is_file()] if site.out.exists() else True
    return err


def test_a_cluster_without_the_machines_that_are_asked_for_says_what_it_has(machines: Machines, site: Site) -> None:
    config = site.folder / "short.toml"
    config.write_text("lease_s = 0.5\n")
    said = refused(machines, site, "--num-gpus", 1, "--config", config)
    assert (
        "no machine of the cluster has 1 CPU and 1 GPU" in said and "1 CPU and 0 GPUs" in said and "--num-gpus" in said
    )


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:9", "nothing answers there"),
        ("10.0.0.1", "expected HOST:PORT"),
        ("ray://10.0.0.1:10001", "start sae-encode on a machine of the cluster"),
    ],
)
def test_an_address_that_is_none_is_refused_at_once(machines: Machines, site: Site, address: str, words: str) -> None:
    assert words in refused(machines, site, "--ray-address", address)
