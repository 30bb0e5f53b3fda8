"""The demo, from nothing to features with their meaning: `python -m encoder.demo`, or `make demo`."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from encoder.demo.features import features
from saefetch.demo.labels import labels, standin


def main() -> None:
    """Run the demo; exit 1 with a line that says what went wrong if anything is not as promised."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo-data"), help="folder for the results, made anew")
    parser.add_argument("--labels", type=Path, help="serve the real labels in this .jsonl.gz instead of made-up ones")
    arguments = parser.parse_args()
    out: Path = arguments.out
    if out.exists():
        if not (out / "standin.json").is_file():
            sys.exit(f"demo: {out} is there and not a demo's; give another folder: make demo ARGS='--out DIR'")
        shutil.rmtree(out)
    out.mkdir(parents=True)
    with standin(out / "standin.json", arguments.labels) as address:
        labels(out, address)
    features(out)


if __name__ == "__main__":
    os.environ.pop("NEURONPEDIA_API_KEY", None)  # the demo never talks to the real server
    main()
