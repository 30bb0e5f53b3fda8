"""`saefetch list`: what SAELens' registry maps to Neuronpedia."""

from __future__ import annotations

import sys

from saefetch import registry
from saefetch.cli.options import print_json


def run(pattern: str | None, *, as_json: bool) -> None:
    """Print the SAEs that match: columns on a terminal, tab-separated lines elsewhere."""
    saes = registry.search(pattern)
    if as_json:
        print_json(
            {
                "saes": [
                    {
                        "sae_release": sae.release,
                        "sae_id": sae.sae_id,
                        "num_features": sae.width,
                        "neuronpedia_id": sae.neuronpedia_id,
                        "model": sae.model,
                    }
                    for sae in saes
                ]
            }
        )
        return
    rows = [(sae.release, sae.sae_id, f"{sae.width:,}" if sae.width else "?", sae.neuronpedia_id) for sae in saes]
    if sys.stdout.isatty():
        header = ("RELEASE", "SAE ID", "FEATURES", "NEURONPEDIA ID")
        widths = [max(len(row[column]) for row in [header, *rows]) for column in range(3)]
        for release, sae_id, width, neuronpedia_id in [header, *rows]:
            print(f"{release:{widths[0]}}  {sae_id:{widths[1]}}  {width:>{widths[2]}}  {neuronpedia_id}")
    else:
        for row in rows:
            print("\t".join(row))
    if not saes:
        print(f"no SAE matches {pattern!r}; fewer or shorter words match more", file=sys.stderr)
