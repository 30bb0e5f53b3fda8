"""The format of `everything.tsv.gz`: every SAE that SAELens loads by name, for `saefetch list --all`.

    # comment
    @release <tab> base model <tab> SAELens' loader
    sae_id   <tab> Neuronpedia id, or empty <tab> width, or empty <tab> hook, or empty
    ...

Releases and SAEs stand in natural order. A download needs none of this: it reads `table.tsv`, which is a sixth as long.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path

from saefetch.names.registry.table import natural_key

EVERYTHING_PATH = Path(__file__).with_name("everything.tsv.gz")


@dataclass(frozen=True, slots=True)
class AnySae:
    """One SAE of SAELens' registry. None stands for what no name says: a file of the SAE or a server has it."""

    release: str
    sae_id: str
    neuronpedia_id: str | None
    d_sae: int | None
    model: str
    loader: str
    hook_name: str | None


def render(saes: Iterable[AnySae], comment: str) -> str:
    """Write the table's text; equal SAEs give equal text, whatever their order."""
    lines = [f"# {line}" for line in comment.splitlines()]
    ordered = sorted(saes, key=lambda sae: (natural_key(sae.release), natural_key(sae.sae_id)))
    for (release, model, loader), members in groupby(ordered, key=lambda sae: (sae.release, sae.model, sae.loader)):
        lines.append(f"@{release}\t{model}\t{loader}")
        lines += ["\t".join((sae.sae_id, *_columns(sae))) for sae in members]
    return "\n".join(lines) + "\n"


def _columns(sae: AnySae) -> tuple[str, str, str]:
    return sae.neuronpedia_id or "", str(sae.d_sae or ""), sae.hook_name or ""


def parse(text: str) -> Iterator[AnySae]:
    """Yield the SAEs of a table, in its order."""
    release = model = loader = ""
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        first, *rest = line.split("\t")
        if first.startswith("@"):
            release, (model, loader) = first[1:], rest
        else:
            neuronpedia_id, width, hook = rest
            d_sae = int(width) if width else None
            yield AnySae(release, first, neuronpedia_id or None, d_sae, model, loader, hook or None)


def packed(text: str) -> bytes:
    """Return the bytes of the file that holds a table's text."""
    return gzip.compress(text.encode(), compresslevel=9, mtime=0)


def unpacked(path: Path = EVERYTHING_PATH) -> str:
    """Return the text of the table that ships with the package."""
    return gzip.decompress(path.read_bytes()).decode()


@cache
def everything() -> tuple[AnySae, ...]:
    """Return every SAE, in natural order."""
    return tuple(parse(unpacked()))
