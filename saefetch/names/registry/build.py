"""Build `table.tsv` from SAELens: `python -m saefetch.names.registry.build [--check]`.

For development: needs sae-lens (found, never imported: that would import torch) and PyYAML. The product reads the
table that is committed. `--check` writes nothing and exits 1 if the committed table is not what this would write.
"""

import argparse
import importlib
import importlib.metadata
import importlib.util
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from saefetch.files.atomic import atomic_write
from saefetch.names.registry.table import TABLE_PATH, Sae, parse, render
from saefetch.names.registry.widths import Names, width_of

NEURONPEDIA_ID = re.compile(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+")


class BuildError(Exception):
    """The table cannot be built from what is installed."""


def build_table() -> str:
    """Return the text of the table for the installed sae-lens."""
    path = find_yaml()
    version = importlib.metadata.version("sae-lens")
    comment = (
        f"SAEs with a Neuronpedia id, from pretrained_saes.yaml of sae-lens {version}\n"
        "written by `python -m saefetch.names.registry.build`; the format is described in table.py"
    )
    return render(read_saes(path), comment)


def find_yaml() -> Path:
    """Return the path of the installed SAELens' `pretrained_saes.yaml`."""
    spec = importlib.util.find_spec("sae_lens")
    if spec is None or spec.origin is None:
        raise BuildError("sae-lens is not installed: pip install 'saefetch[dev]'")
    return Path(spec.origin).with_name("pretrained_saes.yaml")


def read_saes(path: Path) -> list[Sae]:
    """Read the SAEs that have a Neuronpedia id; raises BuildError for an id that is not MODEL/SOURCE."""
    yaml: Any = importlib.import_module("yaml")  # development only; the C loader takes 0.6 s, the Python one 6
    with path.open("rb") as file:
        releases: dict[str, dict[str, Any]] = yaml.load(file, Loader=yaml.CSafeLoader)
    return [
        _sae(release, entry, sae)
        for release, entry in releases.items()
        for sae in entry["saes"]
        if "neuronpedia" in sae
    ]


def _sae(release: str, entry: dict[str, Any], sae: dict[str, Any]) -> Sae:
    neuronpedia_id = str(sae["neuronpedia"])
    if not NEURONPEDIA_ID.fullmatch(neuronpedia_id):
        raise BuildError(f"{release} {sae['id']}: Neuronpedia id {neuronpedia_id!r} is not MODEL/SOURCE")
    source = neuronpedia_id.partition("/")[2]
    names = Names(sae["id"], str(sae["path"]), entry["repo_id"], source)
    return Sae(release, sae["id"], neuronpedia_id, width_of(names), entry["model"])


def main(arguments: list[str] | None = None) -> int:
    """Write or check the table; print the releases that have SAEs of unknown width."""
    parser = argparse.ArgumentParser(prog="python -m saefetch.names.registry.build", description=build_table.__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the committed table differs")
    check = parser.parse_args(arguments).check
    try:
        text = build_table()
    except BuildError as exc:
        print(exc, file=sys.stderr)
        return 2
    if check:
        if TABLE_PATH.exists() and TABLE_PATH.read_text(encoding="utf-8") == text:
            return 0
        print(f"{TABLE_PATH} is out of date: run `python -m saefetch.names.registry.build`", file=sys.stderr)
        return 1
    with atomic_write(TABLE_PATH) as file:
        file.write(text.encode())
    unknown = Counter(sae.release for sae in parse(text) if sae.d_sae is None)
    for release, count in unknown.items():
        print(f"width unknown: {release} ({count})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
