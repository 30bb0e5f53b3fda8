"""The workers of a run as actors of Ray.

Ray restarts an actor that is lost, on another machine if need be. The calls that it had in hand are not made again by
Ray: the dispatcher gives the shard to whoever is free, and asks the restarted actor for its card.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError

import saefetch
from encoder.engines.cluster.actor import Encoder
from encoder.engines.cluster.crew import Event
from encoder.engines.cluster.letters import Card

STOP_S = 20.0
"""How long workers may take to give up their shards; then they are killed."""
CLOSE_S = 2.0
NODES_EVERY_S = 1.0
MAX_WORDS = 300
GONE = "its process or its machine is gone"
_CAUSES = {"OOM": "it took more memory than there is", "out of memory": "it took more memory than there is"}


class OnRay(Encoder):
    """An `Encoder` that knows on which of Ray's machines it is."""

    def introduce(self) -> str:
        node: str = ray.get_runtime_context().get_node_id()
        return self.prepare(node)


class Actors:
    """A `Crew` of workers of a `kind`. `resources` are num_cpus and num_gpus of each.

    A context: at its end all workers end.
    """

    def __init__(
        self, brief: Sequence[str], n_workers: int, resources: dict[str, float], kind: type[OnRay] = OnRay
    ) -> None:
        actor: Any = ray.remote(concurrency_groups={"signs": 1})(kind)
        # Spread, as each has its own copy of the SAE and reads at the rate of its machine's network.
        self._kind = actor.options(max_restarts=-1, scheduling_strategy="SPREAD", **resources)
        self._brief, self._calls = brief, dict[Any, tuple[int, str]]()
        self._nodes, self._looked_at = set[str](), float("-inf")
        self._actors: list[Any] = [None] * n_workers
        for number in range(n_workers):
            self._hire(number)

    def __len__(self) -> int:
        return len(self._actors)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        there = [number for number, actor in enumerate(self._actors) if actor is not None]
        closed = [self._method(number, "close").remote() for number in there]
        if closed:
            ray.wait(closed, num_returns=len(closed), timeout=CLOSE_S)
        for number in there:
            self.dismiss(number)

    def send(self, worker: int, letter: str) -> None:
        self._call(worker, "receipt", "encode", letter)

    def ask(self, worker: int) -> None:
        self._call(worker, "sign", "sign")

    def replace(self, worker: int) -> None:
        self.dismiss(worker)
        self._hire(worker)

    def dismiss(self, worker: int) -> None:
        self._forget(worker)
        actor, self._actors[worker] = self._actors[worker], None
        if actor is not None:
            with suppress(RayError, ValueError):
                ray.kill(actor, no_restart=True)

    def stop(self) -> None:
        at_work = [ref for ref, (_, kind) in self._calls.items() if kind == "receipt"]
        for number in {self._calls[ref][0] for ref in at_work}:
            self._method(number, "stop").remote()
        if at_work:
            ray.wait(at_work, num_returns=len(at_work), timeout=STOP_S)

    def wait(self, timeout_s: float) -> list[Event]:
        if not self._calls:
            time.sleep(timeout_s)
            return []
        calls = list(self._calls)
        ready, others = ray.wait(calls, num_returns=1, timeout=timeout_s)
        if ready and others:
            ready += ray.wait(others, num_returns=len(others), timeout=0)[0]
        return [event for ref in ready if (event := self._event_of(ref)) is not None]

    def lives(self, node: str) -> bool:
        now = time.monotonic()
        if now - self._looked_at > NODES_EVERY_S:
            self._nodes = {one["NodeID"] for one in ray.nodes() if one["Alive"]}
            self._looked_at = now
        return node in self._nodes

    def _hire(self, number: int) -> None:
        self._actors[number] = self._kind.remote(*self._brief)
        self._call(number, "card", "introduce")

    def _call(self, number: int, kind: str, name: str, *words: str) -> None:
        self._calls[self._method(number, name).remote(*words)] = number, kind

    def _method(self, number: int, name: str) -> Any:
        method = getattr(self._actors[number], name)
        return method.options(concurrency_group="signs") if name in ("sign", "stop", "close") else method

    def _forget(self, number: int) -> None:
        """Let go of what a lost worker was asked: whatever comes of it is of no worker any more."""
        for ref in [ref for ref, call in self._calls.items() if call[0] == number]:
            del self._calls[ref]

    def _event_of(self, ref: Any) -> Event | None:
        if ref not in self._calls:
            return None
        number, kind = self._calls.pop(ref)
        try:
            return Event(number, kind, ray.get(ref))  # type: ignore[arg-type]
        except ActorUnavailableError as exc:
            self._forget(number)
            self._call(number, "card", "introduce")  # answered when Ray has started it again
            return None if kind == "card" else Event(number, "lost", _in_words(exc))
        except ActorDiedError as exc:
            self._forget(number)
            if "creation task" in str(exc):
                return Event(number, "card", Card("", "", 0, _why_not_created(exc)).to_json())
            self._hire(number)
            return Event(number, "lost", _in_words(exc))
        except RayError as exc:
            self.replace(number)
            return Event(number, "lost", _in_words(exc))


def _in_words(exc: RayError) -> str:
    """Say why a worker is lost. Ray tells of sockets first, and of what became of the machine a while later."""
    return next((words for mark, words in _CAUSES.items() if mark in str(exc)), GONE)


def _why_not_created(exc: RayError) -> str:
    """Say why an actor cannot be made of our class on a machine."""
    if "No module named" in str(exc):
        return (
            "the machines of the cluster do not have saefetch: pip install 'saefetch[encode,ray]"
            f"=={saefetch.__version__}' on each"
        )
    return str(exc).strip().rpartition("\n")[2][:MAX_WORDS]
