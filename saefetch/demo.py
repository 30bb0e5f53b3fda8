"""The whole product on one machine, without internet: `make demo`.

A stand-in for Neuronpedia runs on loopback; everything else is the real command, started as a user would start it. The
first download is interrupted half way with the signal that Ctrl-C sends, and the same command then resumes it.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SAEFETCH = [sys.executable, "-m", "saefetch"]
N_OBJECTS_HALF = 25
"""The stand-in's export of the default SAE has 50 objects."""
LONGEST_S = 120.0


def main() -> None:
    """Run the demo; exit 1 with a line that says what went wrong if anything is not as promised."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo-data"), help="folder for the results, made anew")
    parser.add_argument("--labels", type=Path, help="serve the real labels in this .jsonl.gz instead of made-up ones")
    arguments = parser.parse_args()
    if arguments.out.exists():
        if not (arguments.out / "standin.json").is_file():
            sys.exit(
                f"demo: {arguments.out} is there and not a demo's; give another folder: make demo ARGS='--out DIR'"
            )
        shutil.rmtree(arguments.out)
    arguments.out.mkdir(parents=True)
    with _standin(arguments.out / "standin.json", arguments.labels) as address:
        _labels(arguments.out, address)


def _labels(out: Path, address: dict[str, Any]) -> None:
    """Download all labels with an interruption, then read them."""
    data_dir = out / "sae"
    urls = ["--api-url", address["api_url"], "--export-url", address["export_url"], "--data-dir", str(data_dir)]
    download = ["download", *urls, "--requests-per-second", "20"]
    folder = f"--data-dir {shlex.quote(str(data_dir))}"

    _title("Download the 16,384 labels of GemmaScope 2B, layer 16, and press Ctrl-C half way")
    process = subprocess.Popen(_shown(download))
    _wait_until(lambda: _served(address) >= N_OBJECTS_HALF or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    _expect("the interrupted download exits with 130", process.wait(LONGEST_S) == 130)
    before = _served(address)

    _title("The same command again: only what is not here is fetched")
    _expect("the resumed download exits with 0", subprocess.run(_shown(download)).returncode == 0)
    _expect("some objects were there already", 0 < _served(address) - before < 2 * N_OBJECTS_HALF)

    _title("And again: nothing is left to ask for")
    again = json.loads(_output([*download, "--json", "--quiet"]))
    print(json.dumps(again, indent=2))
    _expect("a complete SAE needs no request", again["requests"] == 0 and again["failed"] == 0)
    stats = _stats(address)
    print(f"\nThe server answered {stats['requests']} requests with {stats['bytes_sent'] / 1e6:.1f} MB in all.")

    for title, command in (
        ("What is here", f"status {folder}"),
        ("A few labels", f"show 7 42 16383 {folder}"),
        ("Search", f"search 'dogs' --limit 5 {folder}"),
        ("Check the files against the store", f"verify {folder}"),
    ):
        _title(title)
        _expect(command.split()[0], subprocess.run(_shown(shlex.split(command))).returncode == 0)
    print(f"\nThe label files: {again['labels_path']}")


@contextmanager
def _standin(ready_file: Path, labels: Path | None) -> Iterator[dict[str, Any]]:
    """Start the stand-in with the default SAE; yield its addresses."""
    command = [sys.executable, "-m", "saefetch.standin", "--prebuild", "--ready-file", str(ready_file)]
    if labels is not None:
        command += ["--labels", str(labels)]
    print("Starting a stand-in for Neuronpedia on this machine ...", flush=True)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _wait_until(lambda: ready_file.is_file() or process.poll() is not None)
        _expect("the stand-in starts", process.poll() is None)
        yield json.loads(ready_file.read_text())
    finally:
        process.terminate()
        process.wait()


def _stats(address: dict[str, Any]) -> dict[str, Any]:
    with urllib.request.urlopen(f"{address['api_url']}/-/stats", timeout=10) as answer:
        stats: dict[str, Any] = json.load(answer)
        return stats


def _served(address: dict[str, Any]) -> int:
    """Count the export's objects that the stand-in has sent."""
    return int(_stats(address)["by_path"].get("OBJECT", 0))


def _wait_until(condition: Any) -> None:
    deadline = time.monotonic() + LONGEST_S
    while not condition():
        _expect("something happens", time.monotonic() < deadline)
        time.sleep(0.01)


def _title(text: str) -> None:
    bold, plain = ("\x1b[1m", "\x1b[0m") if sys.stdout.isatty() else ("", "")
    print(f"\n{bold}== {text}{plain}", flush=True)


def _shown(arguments: list[str]) -> list[str]:
    """Print the command as a user would type it; return it as it is run here."""
    print("$", shlex.join(["saefetch", *arguments]), flush=True)
    return [*SAEFETCH, *arguments]


def _output(arguments: list[str]) -> str:
    return subprocess.run(_shown(arguments), stdout=subprocess.PIPE, text=True, check=True).stdout


def _expect(what: str, true: bool) -> None:
    if not true:
        sys.stdout.flush()
        sys.exit(f"demo: failed: {what}")


if __name__ == "__main__":
    os.environ.pop("NEURONPEDIA_API_KEY", None)  # the demo never talks to the real server
    main()
