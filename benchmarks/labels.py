"""Benchmark the labels half: `python -m benchmarks.labels [--quick] [--only NAME]`, or `make bench`.

    one      16,384 labels, cold process start to the end of the process: saefetch's export against what people do today
             (see people_today.py) and against the floor
    api      --source batch and --source feature against ten threads of requests, per CPU second
    queue    26 x 16,384 labels in one command
    wide     exports of 131,072 to 1,048,576 features, and searches in the largest

Everything is measured in one run on one machine; what is compared is run in turns. The stand-in is a process of its own
on the same machine and shares its cores, so wall times contain its work; CPU times do not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from statistics import median

from benchmarks.process import Run, run, standin
from benchmarks.report import Report, Row

NEURONPEDIA_ID = "gemma-2-2b/16-gemmascope-res-16k"
N_FEATURES = 16_384
CONCURRENCY = 10  # the same for everything that asks the API
Command = list[str | Path]


@dataclass(frozen=True, slots=True)
class Bench:
    """What all benchmarks share. `folder` is scratch space: up to 3 GB."""

    report: Report
    folder: Path
    quick: bool

    def row(self, what: str, runs: Sequence[Run], note: str = "") -> Row:
        """Put the medians of `runs` into the table."""
        said = runs[0].said
        jobs = said.get("jobs", [said])
        row = Row(
            what,
            median(r.wall_s for r in runs),
            median(r.cpu_s for r in runs),
            max(r.peak_mb for r in runs),
            sum(job["requests"] for job in jobs),
            sum(job["bytes_received"] for job in jobs) / 1e6,
            len(runs),
            note,
        )
        return self.report.add(row)

    def download(self, urls: dict[str, str], *flags: str | Path) -> Callable[[], Run]:
        """Return a cold download into an empty folder."""
        data_dir = self.folder / "sae"
        command: Command = [Path(sys.executable).parent / "saefetch", "download", "--json", "--quiet"]
        command += ["--api-url", urls["api_url"], "--export-url", urls["export_url"], "--data-dir", data_dir, *flags]

        def cold() -> Run:
            rmtree(data_dir, ignore_errors=True)
            return run(command)

        return cold

    def script(self, way: str, urls: dict[str, str], n_features: int) -> Callable[[], Run]:
        """Return a run of one of the scripts of `people_today`."""
        command: Command = [sys.executable, "-m", "benchmarks.people_today", way, "--out", self.folder / "labels.json"]
        command += ["--api-url", urls["api_url"], "--export-url", urls["export_url"]]
        command += ["--neuronpedia-id", NEURONPEDIA_ID, "--features", str(n_features)]
        command += ["--objects", self.folder / "spool" / "v1" / NEURONPEDIA_ID]
        return lambda: run(command)


def in_turns(ways: dict[str, Callable[[], Run]], rounds: int) -> dict[str, list[Run]]:
    """Run everything `rounds` times, one after the other, so that a busy moment of the machine hits all alike."""
    runs: dict[str, list[Run]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            runs[name].append(way())
    return runs


def one(bench: Bench) -> None:
    """Measure 16,384 labels from the export against what people do today, and against the floor."""
    spool = bench.folder / "spool"
    with standin(bench.folder, "--prebuild", "--spool", spool) as urls:
        source = spool / "v1" / NEURONPEDIA_ID
        for other in [*source.glob("*-prev"), source / "activations"]:
            rmtree(other)  # not what the floor is about
        ways = {
            "export": bench.download(urls, "--source", "export"),
            "serial": bench.script("serial", urls, N_FEATURES),
            "floor": bench.script("floor", urls, N_FEATURES),
        }
        runs = in_turns(ways, 3 if bench.quick else 9)
        n_asked = N_FEATURES // 16 if bench.quick else N_FEATURES
        (today,) = in_turns({"threads": bench.script("threads", urls, n_asked)}, 1)["threads"]
    scale = N_FEATURES / n_asked
    note = f"measured over {n_asked:,} features, x {scale:.0f} in the comparison" if bench.quick else ""
    bench.row("one: ten threads of requests, a GET a feature", [today], note)
    serial = bench.row("one: serial loop over the export, requests + gzip + json", runs["serial"])
    floor = bench.row("one: the floor, gunzip + orjson.loads, no network", runs["floor"])
    export = bench.row("one: saefetch download --source export", runs["export"])
    assert export.wall_s and serial.wall_s and floor.wall_s and export.peak_mb
    promise = bench.report.promise
    times = today.wall_s * scale / export.wall_s
    promise("16,384 labels: times faster than ten threads of requests", ">= 20", f"{times:.1f}", times >= 20)
    times = serial.wall_s / export.wall_s
    promise("16,384 labels: times faster than a serial loop over the export", ">= 2", f"{times:.2f}", times >= 2)
    promise("16,384 labels: wall time", "< 1.5 s", f"{export.wall_s:.2f} s", export.wall_s < 1.5)
    share = export.wall_s / floor.wall_s
    promise("16,384 labels: wall time over the floor's", "<= 1", f"{share:.2f}", share <= 1)
    promise("16,384 labels: peak memory", "< 80 MB", f"{export.peak_mb:.0f} MB", export.peak_mb < 80)


def api(bench: Bench) -> None:
    """Measure the API's two sources against ten threads of requests, without a rate limit."""
    n_features = N_FEATURES // 16 if bench.quick else N_FEATURES
    scope = ["--features", f"0:{n_features}", "--concurrency", str(CONCURRENCY), "--requests-per-second", "100000"]
    names = {
        "threads": "api: ten threads of requests, a connection a GET",
        "sessions": "api: ten threads of requests, connections kept",
        "feature": "api: saefetch download --source feature",
        "batch": "api: saefetch download --source batch",
    }
    rows = {}
    for name, what in names.items():
        with standin(bench.folder) as urls:  # a new one each time: it lets 25,000 requests an hour through
            if name in ("threads", "sessions"):
                way = bench.script(name, urls, n_features)
            else:
                way = bench.download(urls, "--source", name, *scope)
            rows[name] = bench.row(what, [way()], f"{n_features:,} features")
    cpu = {name: row.cpu_s or 0.0 for name, row in rows.items()}
    for name in ("feature", "batch"):
        times = cpu["threads"] / cpu[name]
        promise = f"--source {name}: features a CPU second, times those of ten threads of requests"
        kept = cpu["sessions"] / cpu[name]
        bench.report.promise(promise, ">= 2", f"{times:.2f} ({kept:.2f} with connections kept)", times >= 2)


def queue(bench: Bench) -> None:
    """Measure all the layers' labels in one command."""
    n_layers = 4 if bench.quick else 26
    with standin(bench.folder, "--prebuild", "--layers", str(n_layers), "--spool", bench.folder / "spool") as urls:
        flags = ["--source", "export", "--sae-id"]
        single = bench.download(urls, *flags, "layer_0/width_16k/canonical")()
        pattern = "layer_[0-3]/width_16k/canonical" if bench.quick else "layer_*/width_16k/canonical"
        many = bench.download(urls, *flags, pattern)()
    bench.row("queue: one layer", [single])
    row = bench.row(f"queue: {n_layers} x 16,384 labels from the export", [many])
    assert row.wall_s and row.peak_mb
    aim_s = 40 * n_layers / 26
    bench.report.promise(f"{n_layers} x 16,384 labels", f"< {aim_s:.0f} s", f"{row.wall_s:.1f} s", row.wall_s < aim_s)
    growth = row.peak_mb - single.peak_mb
    bench.report.promise(
        f"{n_layers} x 16,384 labels: memory flat",
        "no more than 40 MB over one SAE's",
        f"{growth:+.0f} MB",
        growth < 40,
    )


def wide(bench: Bench) -> None:
    """Measure exports of up to a million features, and searches in the widest."""
    widths = [131_072, 262_144] if bench.quick else [131_072, 524_288, 1_048_576]
    sources: Command = [part for width in widths for part in ("--source", f"synthetic/wide-{width}={width}")]
    rows = []
    with standin(bench.folder, "--prebuild", "--lean", "--spool", bench.folder / "spool", *sources) as urls:
        for width in widths:
            flags = ["--source", "export", "--neuronpedia-id", f"synthetic/wide-{width}", "--num-features", str(width)]
            rows.append(bench.row(f"wide: {width:,} features from the export", [bench.download(urls, *flags)()]))
    per_feature = [1e6 * (row.wall_s or 0) / width for row, width in zip(rows, widths, strict=True)]
    growth = per_feature[-1] / per_feature[0]
    measured = ", ".join(f"{us:.1f}" for us in per_feature)
    bench.report.promise("wide: µs a feature, by width", "linear: within 25%", measured, growth < 1.25)
    peak_mb = max(row.peak_mb or 0 for row in rows)
    bench.report.promise(f"wide: peak memory, {widths[-1]:,} features", "< 150 MB", f"{peak_mb:.0f} MB", peak_mb < 150)
    folder = bench.folder / "sae" / "synthetic" / f"wide-{widths[-1]}"
    found = run([sys.executable, "-m", "benchmarks.search", folder]).said
    for name, result in found["queries"].items():
        what = f"search {widths[-1]:,}: {name} ({result['query']})"
        note = f"first {result['first_ms']:.1f} ms, then {result['later_median_ms']:.1f} ms; {result['found']} found"
        bench.report.add(Row(what, wall_s=result["later_median_ms"] / 1e3, rounds=6, note=note))
    slowest = max(result["later_median_ms"] for result in found["queries"].values())
    bench.report.promise("search: the slowest query, after its first", "< 50 ms", f"{slowest:.1f} ms", slowest < 50)


BENCHMARKS: dict[str, Callable[[Bench], None]] = {"one": one, "api": api, "queue": queue, "wide": wide}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less of everything: 2 minutes instead of 15")
    parser.add_argument("--only", choices=list(BENCHMARKS), action="append", help="just this one; writes no results")
    args = parser.parse_args()
    report = Report()
    for name in args.only or BENCHMARKS:
        with tempfile.TemporaryDirectory(prefix="saefetch-bench-") as folder:
            BENCHMARKS[name](Bench(report, Path(folder), args.quick))
    print(report.markdown())
    if not args.only:
        print("\n".join(f"written: {path}" for path in report.write()))


if __name__ == "__main__":
    main()
