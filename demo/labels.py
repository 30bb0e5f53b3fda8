"""The demo downloads 16,384 labels, which are made up in the shape and the bytes of Neuronpedia's.

A stand-in for Neuronpedia runs on loopback; everything else is the real command, started as a user would start it. The
first download is interrupted half way with the signal that Ctrl-C sends. The same command then resumes it.
"""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

from demo.stage import LONGEST_S, expect, output, run, shown, title, wait_until

N_OBJECTS_HALF = 25
"""The stand-in's export of the default SAE has 50 objects."""


def labels(out: Path, address: dict[str, Any]) -> None:
    """Download all labels to `out`/sae with an interruption, then read them."""
    data_dir = out / "sae"
    download = ["download", *places(data_dir, address), "--requests-per-second", "20"]
    folder = f"--data-dir {shlex.quote(str(data_dir))}"

    title("Download the 16,384 labels of GemmaScope 2B, layer 16, and press Ctrl-C half way")
    process = subprocess.Popen(shown("saefetch", download))
    wait_until(lambda: _served(address) >= N_OBJECTS_HALF or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    expect("the interrupted download exits with 130", process.wait(LONGEST_S) == 130)
    before = _served(address)

    title("The same command again: only what is not here is fetched")
    run("the resumed download exits with 0", "saefetch", download)
    expect("some objects were there already", 0 < _served(address) - before < 2 * N_OBJECTS_HALF)

    title("And again: nothing is left to ask for")
    again = json.loads(output("saefetch", [*download, "--json", "--quiet"]))
    print(json.dumps(again, indent=2))
    expect("a complete SAE needs no request", again["requests"] == 0 and again["failed"] == 0)
    stats = _stats(address)
    print(f"\nThe server answered {stats['requests']} requests with {stats['bytes_sent'] / 1e6:.1f} MB in all.")

    for what, command in (
        ("What is here", f"status {folder}"),
        ("A few labels", f"show 7 42 16383 {folder}"),
        ("Search", f"search 'dogs' --limit 5 {folder}"),
        ("Check the files against the store", f"verify {folder}"),
    ):
        title(what)
        run(command.split()[0], "saefetch", shlex.split(command))
    print(f"\nThe label files: {again['labels_path']}")


def places(data_dir: Path, address: dict[str, Any]) -> list[str]:
    """Return the flags that name the servers of a download and the folder that it writes to."""
    return ["--api-url", address["api_url"], "--export-url", address["export_url"], "--data-dir", str(data_dir)]


def _stats(address: dict[str, Any]) -> dict[str, Any]:
    with urllib.request.urlopen(f"{address['api_url']}/-/stats", timeout=10) as answer:
        stats: dict[str, Any] = json.load(answer)
        return stats


def _served(address: dict[str, Any]) -> int:
    """Count the export's objects that the stand-in has sent."""
    return int(_stats(address)["by_path"].get("OBJECT", 0))
