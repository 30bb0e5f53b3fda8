"""`saefetch list`: what SAELens' registry maps to Neuronpedia."""

from __future__ import annotations

import sys
from itertools import groupby

from saefetch.names import registry
from saefetch.names.registry import Sae
from saefetch.terminal.output import bold, print_json, remark


def run(pattern: str | None, *, as_json: bool) -> None:
    """Print the SAEs that match: grouped by release on a terminal, tab-separated lines elsewhere."""
    saes = registry.search(pattern)
    if as_json:
        print_json({"saes": [_document(sae) for sae in saes]})
    elif sys.stdout.isatty():
        _print_groups(saes)
    else:
        for sae in saes:
            print(sae.release, sae.sae_id, sae.d_sae or "?", sae.neuronpedia_id, sep="\t")
    if not saes and not as_json:
        remark(f"no SAE matches {pattern!r}; fewer or shorter words match more")


def _print_groups(saes: list[Sae]) -> None:
    for (release, model), group in groupby(saes, key=lambda sae: (sae.release, sae.model)):
        members = list(group)
        print(f"{bold(release)}  {model}")
        longest = max(len(sae.sae_id) for sae in members)
        for sae in members:
            width = f"{sae.d_sae:,}" if sae.d_sae else "?"
            print(f"  {sae.sae_id:{longest}}  {width:>9}  {sae.neuronpedia_id}")
    if saes:
        print(f"{len(saes):,} SAEs. To get one: saefetch download --sae-release R --sae-id ID")


def _document(sae: Sae) -> dict[str, object]:
    return {
        "sae_release": sae.release,
        "sae_id": sae.sae_id,
        "num_features": sae.d_sae,
        "neuronpedia_id": sae.neuronpedia_id,
        "model": sae.model,
    }
