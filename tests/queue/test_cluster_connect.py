"""What is said of a cluster that is not there, or not as it was asked for; with a module in the place of Ray."""

from __future__ import annotations

import io
import signal
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from encoder.engines.cluster.connect import connected, room_for
from encoder.errors import InputError, UnreachableError
from encoder.options import Options
from saefetch.errors import MissingExtraError


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A Ray that is connected to nothing."""
    fake: Any = ModuleType("ray")
    fake.is_initialized, fake.shutdown, fake.ended = bool, lambda: setattr(fake, "ended", True), False
    fake.init, fake.machines = lambda **how: setattr(fake, "how", how), []
    fake.nodes = lambda: [{"Alive": True, "Resources": one} for one in fake.machines]
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return fake


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(MissingExtraError, match=r"--engine ray needs ray: pip install 'saefetch\[ray\]'"),
        connected(None),
    ):
        pass


def test_without_an_address_ray_is_started_small_and_ends_with_the_run(ray: Any) -> None:
    with connected(None):
        assert ray.how["address"] == "local" and ray.how["include_dashboard"] is False
        assert ray.how["object_store_memory"] <= 100 << 20 and not ray.ended
    assert ray.ended


def test_a_connection_that_is_there_is_used_and_stays(ray: Any) -> None:
    ray.is_initialized = lambda: True
    with connected("10.0.0.1:6379"):
        assert not hasattr(ray, "how")
    assert not ray.ended


def test_another_ray_or_python_in_the_cluster_is_one_line(ray: Any) -> None:
    def init(**how: object) -> None:
        raise RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.9.0\n    Python: 3.10.1")

    ray.init = init
    with pytest.raises(InputError) as refused, connected(None):
        pass
    assert "Version mismatch" in str(refused.value) and "Ray: 2.9.0 Python: 3.10.1" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_nothing_at_an_address_is_said_at_once(ray: Any) -> None:
    with (
        pytest.raises(UnreachableError, match=r"--ray-address 127\.0\.0\.1:9: nothing answers there"),
        connected("127.0.0.1:9"),
    ):
        pass


@pytest.mark.parametrize(
    ("address", "words"),
    [("10.0.0.1", "expected HOST:PORT"), ("ray://10.0.0.1:10001", "Ray's client is not supported")],
)
def test_an_address_that_is_none_is_refused(ray: Any, address: str, words: str) -> None:
    with pytest.raises(InputError, match=words), connected(address):
        pass


def test_what_ray_prints_is_not_in_what_this_program_prints(ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    with connected(None):
        thread = threading.Thread(target=lambda: print("(raylet) a worker died"), name="ray_listen_error_messages")
        thread.start()
        thread.join()
        print("{}")
    assert out.getvalue() == "{}\n" and sys.stdout is out


def test_sigterm_is_handled_as_before(ray: Any) -> None:
    before = signal.getsignal(signal.SIGTERM)
    ray.init = lambda **how: signal.signal(signal.SIGTERM, lambda *_: None)
    with connected(None):
        assert signal.getsignal(signal.SIGTERM) is before


def room(ray: Any, machines: list[dict[str, float]], **options: Any) -> Any:
    ray.machines = machines
    return room_for(Options(lease_s=0.01, **options), threading.Event())


def test_without_a_number_there_are_as_many_workers_as_have_room(ray: Any) -> None:
    found = room(ray, [{"CPU": 4.0}, {"CPU": 9.0}, {"memory": 1.0}], num_cpus=2)
    assert (found.n_workers, found.n_machines, found.most_on_one) == (6, 2, 4)
    assert found.resources == {"num_cpus": 2.0, "num_gpus": 0.0}


def test_a_worker_has_a_gpu_where_the_cluster_has_any_unless_it_is_told_not_to(ray: Any) -> None:
    machines = [{"CPU": 16.0, "GPU": 8.0}, {"CPU": 16.0}]
    assert (found := room(ray, machines)).n_workers == 8 and found.resources["num_gpus"] == 1
    assert room(ray, machines, num_gpus=0.5).n_workers == 16, "a GPU may serve several workers"
    assert room(ray, machines, num_gpus=0).n_workers == 32
    assert room(ray, machines, device="cpu").n_workers == 32
    assert room(ray, [{"CPU": 16.0, "GPU": 0.3}], num_gpus=0.1).n_workers == 3, "tenths are no binary fractions"


def test_a_cluster_that_has_no_such_machine_says_what_it_has(ray: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        room(ray, [{"CPU": 4.0}, {"CPU": 8.0}, {"CPU": 4.0}], num_gpus=1)
    assert "no machine of the cluster has 1 CPU and 1 GPU for a worker" in str(refused.value)
    assert "4 CPUs and 0 GPUs; 8 CPUs and 0 GPUs" in str(refused.value)
