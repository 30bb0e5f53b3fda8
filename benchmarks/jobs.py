"""Benchmark a job of the service: `python -m benchmarks.jobs [--quick]`, or `make bench`.

The same 16,384 labels of the export are fetched by `saefetch download` and by a job of a running service, in turns. Of
the command its own `seconds` count, which begin after the imports. Of the job the time from the request to the event
that says `done` counts.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import Request, urlopen

from benchmarks.process import standin
from benchmarks.report import Aim, describe_machine, head, promises, publish

ORDER = ("--source", "export", "--quiet")


def command_s(urls: dict[str, str], data_dir: Path) -> float:
    """Return how long a download took by its own account."""
    words = [sys.executable, "-m", "saefetch", "download", "--json", *ORDER, "--data-dir", str(data_dir)]
    ended = subprocess.run(words, env=leading_to(urls), check=True, capture_output=True)
    return float(json.loads(ended.stdout)["seconds"])


def leading_to(urls: dict[str, str]) -> dict[str, str]:
    return os.environ | {"SAEFETCH_API_URL": urls["api_url"], "SAEFETCH_EXPORT_URL": urls["export_url"]}


@contextmanager
def serving(urls: dict[str, str], data_dir: Path) -> Iterator[str]:
    words = [sys.executable, "-m", "saefetch", "serve", "--port", "0", "--data-dir", str(data_dir), *ORDER[:2]]
    process = subprocess.Popen(words, env=leading_to(urls), stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        match = re.search(r"http://\S+:\d+", process.stderr.readline())
        assert match is not None
        yield match[0]
    finally:
        process.terminate()
        process.communicate()


def job_s(address: str) -> float:
    """Ask for the default SAE; return the time until the service says that it is done."""
    with urlopen(f"{address}/v1/events") as events:
        headers = {"Content-Type": "application/json"}
        began = time.perf_counter()
        urlopen(Request(f"{address}/v1/jobs", b"{}", headers)).close()
        for line in events:
            if line.startswith(b"data: "):
                job: dict[str, Any] = json.loads(line[6:])
                if job["ended_at"]:
                    assert job["state"] == "done", job["error"]
                    return time.perf_counter() - began
    raise RuntimeError("the events ended before the job")


def measure(folder: Path, rounds: int) -> tuple[list[float], list[float]]:
    command, job = [], []
    with standin(folder, "--prebuild", "--spool", folder / "spool") as urls:
        for n in range(rounds):
            command.append(command_s(urls, folder / f"command{n}"))
            with serving(urls, folder / f"service{n}") as address:
                job.append(job_s(address))
    return command, job


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two rounds; writes no results")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="saefetch-bench-") as scratch:
        command, job = measure(Path(scratch), 2 if args.quick else 9)
    machine = describe_machine("jobs", ("aiohttp", "orjson", "saefetch"))
    share = median(job) / median(command)
    aim = Aim("a job's time over the command's", "<= 1.05", f"{share:.2f}", share <= 1.05)
    lines = head("A job of the service", machine)
    lines += ["", "| 16,384 labels from the export | rounds | median s | fastest s |", "|---|---:|---:|---:|"]
    for what, times in (("`saefetch download`, its own `seconds`", command), ("a job, request to `done`", job)):
        lines.append(f"| {what} | {len(times)} | {median(times):.2f} | {min(times):.2f} |")
    lines += ["", *promises([aim])]
    publish("jobs", machine, {"command": command, "job": job}, lines, quick=args.quick)


if __name__ == "__main__":
    main()
