"""Benchmark the queue alone: `python -m benchmarks.queue [--quick]`, or `make bench`.

20,000 tickets are submitted by one process, and claimed and finished by four, which do no work for them. Reported are
microseconds a job: of submitting, and of each tenth of the jobs, by when they ended, so that growth shows. `--folder`
says on which disk: every step is an fsync.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from benchmarks.report import describe_machine, head, publish
from encoder.queue.queue import Queue
from encoder.queue.ticket import Ticket

N_JOBS, N_WORKERS, N_PARTS = 20_000, 4, 10
AIM = 1.3
"""The last tenth of the jobs may take so many times as long as the median tenth: growth would be more."""
LIBRARIES = ("saefetch",)


@dataclass(frozen=True, slots=True)
class Found:
    """Microseconds a job, and the jobs that each worker did."""

    submit_us: float
    parts_us: list[float]
    done_by: list[int]

    @property
    def growth(self) -> float:
        return self.parts_us[-1] / median(self.parts_us)


def tickets(n: int) -> list[Ticket]:
    return [Ticket(f"job{i:06d}", f"acts/{i:06d}.npy", f"out/{i:06d}.npz", {"sae_path": "sae"}) for i in range(n)]


def work(root: Path, ends: multiprocessing.Queue[list[float]]) -> None:
    """Claim and finish until nothing is left; tell when each job ended."""
    queue, ended = Queue(root), list[float]()
    while (claim := queue.claim()) is not None:
        claim.done(outputs=())
        ended.append(time.monotonic())
    ends.put(ended)


def measure(folder: Path, n_jobs: int) -> Found:
    root = folder / "queue"
    queue = Queue(root, create=True)
    began = time.monotonic()
    queue.submit(tickets(n_jobs))
    submitted = time.monotonic()
    context = multiprocessing.get_context("fork")
    ends: multiprocessing.Queue[list[float]] = context.Queue()
    workers = [context.Process(target=work, args=(root, ends)) for _ in range(N_WORKERS)]
    started = time.monotonic()
    for worker in workers:
        worker.start()
    by_worker = [ends.get() for _ in workers]
    for worker in workers:
        worker.join()
    ended = sorted(moment for moments in by_worker for moment in moments)
    if len(ended) != n_jobs or len(queue.status().done) != n_jobs:
        raise RuntimeError(f"{len(ended)} of {n_jobs} jobs ended, {len(queue.status().done)} are done")
    marks = [started, *(ended[n_jobs * (part + 1) // N_PARTS - 1] for part in range(N_PARTS))]
    size = n_jobs / N_PARTS
    parts = [1e6 * (after - before) / size for before, after in pairwise(marks)]
    return Found(1e6 * (submitted - began) / n_jobs, parts, sorted(map(len, by_worker)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the jobs; writes no results")
    parser.add_argument("--folder", type=Path, help="where the queue goes, for the time of the run")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="saefetch-bench-", dir=args.folder) as folder:
        found = measure(Path(folder), N_JOBS // 10 if args.quick else N_JOBS)
    machine = describe_machine("queue", LIBRARIES)
    lines = head("The queue", machine)
    lines += ["", "| tenth of the jobs | " + " | ".join(map(str, range(1, N_PARTS + 1))) + " |"]
    lines += ["|---|" + "---:|" * N_PARTS]
    lines += ["| µs a job | " + " | ".join(f"{part:.0f}" for part in found.parts_us) + " |", ""]
    lines += [f"- submitting: {found.submit_us:.0f} µs a job", f"- jobs of each worker: {found.done_by}"]
    lines += [f"- the last tenth over the median: {found.growth:.2f}, {'met' if found.growth <= AIM else 'MISSED'}"]
    publish("queue", machine, asdict(found), lines, quick=args.quick)


if __name__ == "__main__":
    main()
