"""The format of `table.tsv`: UTF-8, tab-separated, grouped by release.

    # comment
    @release <tab> base model <tab> Neuronpedia model
    sae_id   <tab> Neuronpedia source <tab> width, or empty where it is not certain
    ...

A Neuronpedia id is `model/source`; every SAE of a release has the same Neuronpedia model, so it stands once.
Releases and the SAEs of a release stand in natural order (layer_2 before layer_10), so that nothing is sorted at run
time. A lookup reads one release's section and parses nothing else.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

TABLE_PATH = Path(__file__).with_name("table.tsv")


@dataclass(frozen=True, slots=True)
class Sae:
    """One SAE of the registry; `d_sae` is its number of features, None where only the server knows."""

    release: str
    sae_id: str
    neuronpedia_id: str
    d_sae: int | None
    model: str


def natural_key(name: str) -> list[tuple[str, int]]:
    """Return a sort key that compares runs of digits as numbers."""
    return [(text, int(digits or -1)) for text, digits in re.findall(r"(\D*)(\d*)", name)]


def render(saes: Iterable[Sae], comment: str) -> str:
    """Write the table's text; equal SAEs give equal text, whatever their order.

    Raises ValueError for SAEs that the format cannot hold.
    """
    lines = [f"# {line}" for line in comment.splitlines()]
    ordered = sorted(saes, key=lambda sae: (natural_key(sae.release), natural_key(sae.sae_id)))
    for release, group in groupby(ordered, key=lambda sae: sae.release):
        members = list(group)
        models = {(sae.model, sae.neuronpedia_id.partition("/")[0]) for sae in members}
        if len(models) != 1:
            raise ValueError(f"release {release} has several models, {sorted(models)}: the format has room for one")
        lines.append("\t".join((f"@{release}", *models.pop())))
        for sae in members:
            if sae.sae_id.startswith(("@", "#")):
                raise ValueError(f"SAE id {sae.sae_id!r} of {release} looks like a heading of the table")
            lines.append(f"{sae.sae_id}\t{sae.neuronpedia_id.partition('/')[2]}\t{sae.d_sae or ''}")
    return "\n".join(lines) + "\n"


def parse(text: str) -> Iterator[Sae]:
    """Yield the SAEs of a table, or of any run of its sections, in the table's order."""
    release = model = neuronpedia_model = ""
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        first, second, third = line.split("\t")
        if first.startswith("@"):
            release, model, neuronpedia_model = first[1:], second, third
        else:
            d_sae = int(third) if third else None
            yield Sae(release, first, f"{neuronpedia_model}/{second}", d_sae, model)


def section(text: str, release: str) -> str:
    """Cut out one release, heading included; empty if the table does not have it."""
    start = text.find(f"\n@{release}\t")  # a comment comes first, so every heading follows a newline
    if start < 0:
        return ""
    end = text.find("\n@", start + 1)
    return text[start + 1 : end if end >= 0 else len(text)]
