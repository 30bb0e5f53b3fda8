"""Play the demo, from nothing to features with their meaning: `python -m demo`, or `make demo`."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from demo.captures import write_captures
from demo.encoding import encode
from demo.labels import labels, places
from demo.looking import look
from demo.published import D_SAE, FEATURES, NEURONPEDIA_ID, REPOSITORY, SAE_ID
from demo.stage import run, shown, standin, title
from demo.texts import shown_texts
from standin.__main__ import DEFAULT_SOURCE


def main() -> None:
    """Run the demo; where a promise is broken, exit 1 with a line that names the promise."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("demo-data"), help="folder for the results, made anew")
    parser.add_argument("--labels", type=Path, help="serve the real labels in this .jsonl.gz instead of made-up ones")
    parser.add_argument("--serve", action="store_true", help="serve the dashboard in the end, until Ctrl-C")
    arguments = parser.parse_args()
    out: Path = arguments.out
    if out.exists():
        if not (out / "standin.json").is_file():
            sys.exit(f"demo: {out} is there and not a demo's; give another folder: make demo ARGS='--out DIR'")
        shutil.rmtree(out)
    out.mkdir(parents=True)
    served = ["--prebuild", "--source", DEFAULT_SOURCE, "--source", f"{NEURONPEDIA_ID}={D_SAE}"]
    served += ["--features", str(FEATURES), *(["--labels", str(arguments.labels)] if arguments.labels else [])]
    print("Starting a stand-in for Neuronpedia on this machine ...", flush=True)
    with standin("standin", served, out / "standin.json") as address:
        labels(out, address)
        capture(out)
        own_labels(out, address)
    encode(out)
    look(out)
    dashboard(out, arguments.serve)


def capture(out: Path) -> None:
    """Write hidden states of the shown texts to `out`/activations."""
    texts = shown_texts()
    title("Real activations: a small transformer reads texts, and its third layer's states are kept")
    folder = out / "activations"
    n_tokens = write_captures(folder, texts)
    for book in sorted(folder.iterdir()):
        files = sorted(book.iterdir())
        n_bytes = sum(path.stat().st_size for path in files)
        print(
            f"{book}  {len(files)} captures, {n_bytes / 1e6:.0f} MB: {', '.join(path.stem for path in files[:4])}, ..."
        )
    print(f"{n_tokens:,} tokens in all")


def own_labels(out: Path, address: dict[str, Any]) -> None:
    """Download the labels of the SAE that was trained on such states."""
    title(f"The labels of an SAE of that layer, {D_SAE:,} features: made by a rule, from the words on which each fires")
    sae = ["--neuronpedia-id", NEURONPEDIA_ID, "--sae-release", REPOSITORY, "--sae-id", SAE_ID]
    run("their download", "saefetch", ["download", *sae, *places(out / "sae", address)])


def dashboard(out: Path, serve: bool) -> None:
    """Say how to look at all of it, or serve it until it is interrupted."""
    title("Look at it in the browser")
    folders = ["--data-dir", str(out / "sae"), "--features", str(out / "queue" / "out"), "--queue", str(out / "queue")]
    if not serve:
        print(f"{shlex.join(['sae-dashboard', *folders])}    serves it at http://127.0.0.1:8765/")
        print("make demo ARGS=--serve does so at once, until Ctrl-C.")
        return
    process = subprocess.Popen(shown("sae-dashboard", folders))
    try:
        sys.exit(process.wait())
    except KeyboardInterrupt:  # Ctrl-C is how it is meant to end, and the dashboard has received the signal too
        process.wait()


if __name__ == "__main__":
    os.environ.pop("NEURONPEDIA_API_KEY", None)  # the demo never talks to the real server
    main()
