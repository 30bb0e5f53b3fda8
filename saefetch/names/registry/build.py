"""Build `table.tsv` and `everything.tsv.gz` from SAELens: `python -m saefetch.names.registry.build [--check]`.

For development: needs sae-lens (found, never imported: that would import torch) and PyYAML. The product reads the
table that is committed. `--check` writes nothing and exits 1 if a committed table is not what this would write.
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
from saefetch.names.registry import everything
from saefetch.names.registry.everything import EVERYTHING_PATH, AnySae
from saefetch.names.registry.hooks import hook_of
from saefetch.names.registry.table import TABLE_PATH, Sae, parse, render
from saefetch.names.registry.widths import Names, width_of

NEURONPEDIA_ID = re.compile(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+")


class BuildError(Exception):
    """The table cannot be built from what is installed."""


def build_tables() -> tuple[str, str]:
    """Return the texts of `table.tsv` and of `everything.tsv.gz` for the installed sae-lens."""
    saes = read_saes(find_yaml())
    whence = f"from pretrained_saes.yaml of sae-lens {importlib.metadata.version('sae-lens')}"
    how = "written by `python -m saefetch.names.registry.build`; the format is described in"
    mapped = [
        Sae(sae.release, sae.sae_id, sae.neuronpedia_id, sae.d_sae, sae.model) for sae in saes if sae.neuronpedia_id
    ]
    return (
        render(mapped, f"SAEs with a Neuronpedia id, {whence}\n{how} table.py"),
        everything.render(saes, f"SAEs that SAELens loads by name, {whence}\n{how} everything.py"),
    )


def find_yaml() -> Path:
    """Return the path of the installed SAELens' `pretrained_saes.yaml`."""
    spec = importlib.util.find_spec("sae_lens")
    if spec is None or spec.origin is None:
        raise BuildError("sae-lens is not installed: pip install 'saefetch[dev]'")
    return Path(spec.origin).with_name("pretrained_saes.yaml")


def read_saes(path: Path) -> list[AnySae]:
    """Read all SAEs; raises BuildError for a Neuronpedia id that is not MODEL/SOURCE."""
    yaml: Any = importlib.import_module("yaml")  # development only; the C loader takes 0.6 s, the Python one 6
    with path.open("rb") as file:
        releases: dict[str, dict[str, Any]] = yaml.load(file, Loader=yaml.CSafeLoader)
    return [_sae(release, entry, sae) for release, entry in releases.items() for sae in entry["saes"]]


def _sae(release: str, entry: dict[str, Any], sae: dict[str, Any]) -> AnySae:
    neuronpedia_id = str(sae.get("neuronpedia") or "")
    if neuronpedia_id and not NEURONPEDIA_ID.fullmatch(neuronpedia_id):
        raise BuildError(f"{release} {sae['id']}: Neuronpedia id {neuronpedia_id!r} is not MODEL/SOURCE")
    names = Names(sae["id"], str(sae["path"]), entry["repo_id"], neuronpedia_id.partition("/")[2])
    loader = entry.get("conversion_func") or "sae_lens"
    return AnySae(
        release, sae["id"], neuronpedia_id or None, width_of(names), entry["model"], loader, hook_of(loader, names)
    )


def main(arguments: list[str] | None = None) -> int:
    """Write or check the tables; print the releases that have SAEs of unknown width."""
    parser = argparse.ArgumentParser(prog="python -m saefetch.names.registry.build", description=build_tables.__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a committed table differs")
    check = parser.parse_args(arguments).check
    try:
        text, all_text = build_tables()
    except BuildError as exc:
        print(exc, file=sys.stderr)
        return 2
    if check:
        old = TABLE_PATH.exists() and TABLE_PATH.read_text(encoding="utf-8") == text
        if old and EVERYTHING_PATH.exists() and everything.unpacked() == all_text:
            return 0
        print(f"{TABLE_PATH.parent} is out of date: run `python -m saefetch.names.registry.build`", file=sys.stderr)
        return 1
    for path, content in ((TABLE_PATH, text.encode()), (EVERYTHING_PATH, everything.packed(all_text))):
        with atomic_write(path) as file:
            file.write(content)
    unknown = Counter(sae.release for sae in parse(text) if sae.d_sae is None)
    for release, count in unknown.items():
        print(f"width unknown: {release} ({count})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
