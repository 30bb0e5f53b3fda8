"""Ray itself: is it installed, does the cluster answer, does it have the machines that are asked for?

    --ray-address not given    $RAY_ADDRESS, and without it a Ray of this machine alone, which ends with the run
    --ray-address HOST:PORT    that cluster, of which this machine has to be a part; `auto` finds its address

Where the program that calls has connected itself before, that connection is used, and stays.
"""

from __future__ import annotations

import io
import logging
import math
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any, TextIO, cast

from encoder.errors import InputError, UnreachableError
from encoder.options import Options
from saefetch.extras import needs

CONNECT_S = 30.0
OBJECT_STORE_BYTES = 100 << 20
"""Receipts are all that lies in it; Ray takes no less than 75 MiB."""
_ADDRESS = re.compile(r"auto|local|[^\s:/]+:[0-9]{1,5}|\[[0-9a-fA-F:]+\]:[0-9]{1,5}")


def check_usable(named: str | None) -> str:
    """Return the address that is meant, which is not asked for yet. Raises: MissingExtraError, InputError."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with needs("ray", "--engine ray"):
        import ray  # noqa: F401 - that it is not installed is to be known before any work
    address = named or os.environ.get("RAY_ADDRESS") or "local"
    if address.startswith("ray://"):
        raise InputError(
            f"--ray-address {address}: Ray's client is not supported: start sae-encode on a machine of the cluster,"
            " for example with `ray job submit -- sae-encode run ...`"
        )
    if _ADDRESS.fullmatch(address) is None:
        raise InputError(f"--ray-address {address}: expected HOST:PORT, such as 10.0.0.1:6379, or auto, or local")
    return address


@contextmanager
def connected(named: str | None) -> Iterator[None]:
    """Be connected to a cluster. Raises: MissingExtraError, InputError, UnreachableError."""
    address = check_usable(named)
    import ray

    with ExitStack() as ends:
        if not ray.is_initialized():
            settings = _settings_for(address)
            with _own_signals():
                try:
                    ray.init(log_to_driver=False, logging_level=logging.CRITICAL, **settings)
                except (RuntimeError, ConnectionError, ValueError) as exc:
                    raise InputError(f"--engine ray: {_in_a_line(exc)}") from exc
            ends.callback(_shut_down, ray)
        ends.enter_context(redirect_stdout(cast(TextIO, _WithoutRay(sys.stdout))))
        yield


def _shut_down(ray: Any) -> None:
    """Leave the cluster, without what Ray has kept to say until then."""
    with redirect_stdout(io.StringIO()):
        ray.shutdown()


@dataclass(frozen=True, slots=True)
class Room:
    """How many workers the machines of a cluster have room for, with `resources` for each."""

    n_machines: int
    n_workers: int
    most_on_one: int
    resources: dict[str, float]

    def in_words(self, n_wanted: int) -> str:
        words = f"Ray: {_amount(n_wanted, 'worker')} of {_in_words(**self.resources)}"
        words += f", on {_amount(self.n_machines, 'machine')}"
        return words + (f"; there is room for {self.n_workers:,} so far" if self.n_workers < n_wanted else "")


def room_for(options: Options, stopping: threading.Event) -> Room:
    """Return what the cluster has room for; wait for a machine that comes, for the time of a lease.

    Where nothing is said of GPUs, a worker has one if the cluster has any. Raises: InputError where there is no room.
    """
    found = _now(options)
    for _ in range(math.ceil(options.lease_s)):
        if found.n_workers or stopping.wait(min(1.0, options.lease_s)):
            break
        found = _now(options)
    if not found.n_workers and not stopping.is_set():
        wanted = _in_words(**found.resources)
        there = "; ".join(sorted({_in_words(one.get("CPU", 0), one.get("GPU", 0)) for one in _machines()}))
        raise InputError(
            f"--engine ray: no machine of the cluster has {wanted} for a worker; those that are there have"
            f" {there or 'nothing'}: ask for less with --num-cpus and --num-gpus, or add machines"
        )
    return found


def _now(options: Options) -> Room:
    machines, num_gpus = _machines(), options.num_gpus
    if num_gpus is None:
        has_gpu = any(one.get("GPU") for one in machines)
        num_gpus = 1.0 if options.device.startswith("cuda") or (has_gpu and options.device == "auto") else 0.0
    wanted = {"CPU": options.num_cpus, "GPU": num_gpus}
    room = [_room_on(one, wanted) for one in machines]
    resources = {"num_cpus": wanted["CPU"], "num_gpus": wanted["GPU"]}
    return Room(sum(map(bool, room)), sum(room), max(room, default=0), resources)


def _room_on(machine: Mapping[str, float], wanted: Mapping[str, float]) -> int:
    room = [int(machine.get(kind, 0.0) / each + 1e-6) for kind, each in wanted.items() if each]
    return min(room, default=1)


def _machines() -> list[dict[str, float]]:
    import ray

    return [dict(one["Resources"]) for one in ray.nodes() if one["Alive"]]


def _settings_for(address: str) -> dict[str, Any]:
    """Return the arguments of `ray.init`. Raises: UnreachableError where no cluster answers in time."""
    if address == "local":
        return {"address": "local", "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    _check_answers(address)
    return {"address": address}


def _check_answers(address: str) -> None:
    """Ask for the cluster's health in a process of its own: `ray.init` waits for minutes, and cannot be stopped."""
    host, _, port = address.rpartition(":")
    start = "start one with `ray start --head`, or leave --ray-address out for a Ray of this machine"
    try:
        if host:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_S / 3).close()
        command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--skip-version-check"]
        command += [] if address == "auto" else ["--address", address]
        asked = subprocess.run(command, capture_output=True, text=True, timeout=CONNECT_S, check=False)
    except (OSError, OverflowError) as exc:
        raise UnreachableError(f"--ray-address {address}: nothing answers there: {exc}; {start}") from exc
    except subprocess.TimeoutExpired as exc:
        raise UnreachableError(
            f"--ray-address {address}: no Ray cluster answers there within {CONNECT_S:g} s; {start}"
        ) from exc
    if asked.returncode:
        said = [line for line in asked.stderr.splitlines() if line.strip()]
        why = said[-1].strip() if said else f"its health check ends with {asked.returncode}"
        raise UnreachableError(f"--ray-address {address}: no Ray cluster is there: {why}; {start}")


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the handler of SIGTERM, which `ray.init` replaces."""
    is_main = threading.current_thread() is threading.main_thread()
    before: Callable[..., Any] | int | None = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before)


class _WithoutRay:
    """Stdout without what Ray's own threads print there: --json promises one object, and the display tells the rest."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, text: str) -> int:
        if threading.current_thread().name.startswith("ray_"):
            return len(text)
        return self._out.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._out, name)


def _in_a_line(exc: BaseException) -> str:
    return " ".join(str(exc).split())[:500]


def _in_words(num_cpus: float, num_gpus: float) -> str:
    return f"{_amount(num_cpus, 'CPU')} and {_amount(num_gpus, 'GPU')}"


def _amount(n: float, noun: str) -> str:
    return f"{n:,g} {noun}{'' if n == 1 else 's'}"
