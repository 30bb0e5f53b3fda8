"""What a cluster would do with many more tokens than this machine has seen, from the figures measured here.

A worker is free, gets the next shard from the driver, encodes it, and returns a receipt; now and then a machine is lost
with the shard that it had in hand, and its worker is back after a while. The driver serves one shard at a time, and all
workers share what the store gives. Nothing else is modelled. `by_formula` is the same as a sum, to check one by the
other.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Scene:
    """A cluster and its work. `mtbf_s` is the mean time between two losses of one machine; 0 is never."""

    n_tokens: float = 1e12
    n_workers: int = 64
    tokens_a_shard: float = 1e6
    tokens_a_second: float = 1e6  # of a worker that waits for nothing
    bytes_a_token: float = 2304 * 2 + 760  # bf16 in, sparse out
    store_bytes_a_second: float = float("inf")  # of all workers together
    scheduling_s: float = 0.001  # of the driver, a shard
    start_s: float = 20.0  # of a worker
    mtbf_s: float = 0.0
    seed: int = 0

    @property
    def n_shards(self) -> int:
        return round(self.n_tokens / self.tokens_a_shard)

    @property
    def shard_s(self) -> float:
        """How long a worker has a shard: by its own rate, or by its share of the store's."""
        share = self.store_bytes_a_second / self.n_workers
        return self.tokens_a_shard * max(1 / self.tokens_a_second, self.bytes_a_token / share)


@dataclass(frozen=True, slots=True)
class Outcome:
    hours: float
    worker_hours: float
    n_lost: int
    driver_busy: float  # part of the time


def by_formula(scene: Scene) -> float:
    """Return the hours: of the slower of workers and driver, with what losses cost the workers."""
    lost = 0.0 if not scene.mtbf_s else (scene.shard_s / 2 + scene.start_s) / scene.mtbf_s
    workers_s = scene.n_shards * (scene.shard_s + scene.scheduling_s) / scene.n_workers / (1 - min(lost, 0.99))
    return (scene.start_s + max(workers_s, scene.n_shards * scene.scheduling_s)) / 3600


def simulate(scene: Scene) -> Outcome:
    """Return what happens, event by event."""
    chance = random.Random(scene.seed)

    def until_loss() -> float:
        return chance.expovariate(1 / scene.mtbf_s) if scene.mtbf_s else float("inf")

    free = [(scene.start_s, worker) for worker in range(scene.n_workers)]  # when each asks for its next shard
    lost_at = [scene.start_s + until_loss() for _ in free]
    driver_s = end_s = 0.0
    waiting, n_lost = scene.n_shards, 0
    while waiting:
        asked_s, worker = heapq.heappop(free)
        driver_s = max(driver_s, asked_s) + scene.scheduling_s
        waiting -= 1
        done_s = driver_s + scene.shard_s
        if lost_at[worker] < done_s:
            n_lost, waiting = n_lost + 1, waiting + 1
            done_s = max(driver_s, lost_at[worker]) + scene.start_s
            lost_at[worker] = done_s + until_loss()
        end_s = max(end_s, done_s)
        heapq.heappush(free, (done_s, worker))
    busy = (scene.n_shards + n_lost) * scene.scheduling_s / end_s
    return Outcome(end_s / 3600, scene.n_workers * end_s / 3600, n_lost, busy)


def table(measured: Scene) -> list[str]:
    """Return what 64 workers would do, and what becomes the limit; `measured` has the driver's figures."""
    day = 86_400.0
    cases = {
        "shards of 10^6 tokens, 4.6 GB each, any store": measured,
        "the store gives 100 GB/s to all": replace(measured, store_bytes_a_second=100e9),
        "the store gives 10 GB/s to all": replace(measured, store_bytes_a_second=10e9),
        "spot machines, each lost once in 2 hours": replace(measured, mtbf_s=day / 12),
        "the same, shards of 10^8 tokens, 460 GB each": replace(measured, mtbf_s=day / 12, tokens_a_shard=1e8),
        "shards of 10^4 tokens, 46 MB each": replace(measured, tokens_a_shard=1e4),
        "1,024 workers": replace(measured, n_workers=1024),
        "1,024 workers, shards of 10^5 tokens": replace(measured, n_workers=1024, tokens_a_shard=1e5),
    }
    lines = ["| 10^12 tokens, 64 workers | shards | hours | by the formula | worker hours | lost | driver busy |"]
    lines += ["|---|---:|---:|---:|---:|---:|---:|"]
    for name, scene in cases.items():
        outcome, scale = simulate(_smaller(scene)), scene.n_shards / _smaller(scene).n_shards
        lines.append(
            f"| {name} | {scene.n_shards:,} | {outcome.hours * scale:,.1f} | {by_formula(scene):,.1f}"
            f" | {outcome.worker_hours * scale:,.0f} | {outcome.n_lost * scale:,.0f} | {outcome.driver_busy:.1%} |"
        )
    return lines


def _smaller(scene: Scene) -> Scene:
    """Return a scene of at most a million shards, which runs in seconds; the rest is more of the same."""
    return replace(scene, n_tokens=min(scene.n_tokens, 1e6 * scene.tokens_a_shard))
