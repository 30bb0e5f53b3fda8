"""`saefetch list`: the SAEs that SAELens' registry maps to Neuronpedia, and with --all those that it only loads."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import groupby

from saefetch.names import registry
from saefetch.names.registry import AnySae, Sae
from saefetch.terminal.output import bold, print_json, remark


def run(pattern: str | None, *, everything: bool, as_json: bool) -> None:
    """Print the SAEs that match: grouped by release on a terminal, tab-separated lines elsewhere."""
    saes = registry.search_everything(pattern) if everything else registry.search(pattern)
    if as_json:
        print_json({"saes": [_document(sae) for sae in saes]})
    elif sys.stdout.isatty():
        _print_groups(saes)
    else:
        for sae in saes:
            print(*_line(sae), sep="\t")
    if not saes and not as_json:
        more = "" if everything or not registry.search_everything(pattern) else "; --all shows SAEs without labels too"
        remark(f"no SAE matches {pattern!r}; fewer or shorter words match more{more}")


def _line(sae: Sae | AnySae) -> tuple[str, ...]:
    line = (sae.release, sae.sae_id, str(sae.d_sae or "?"), sae.neuronpedia_id or "-")
    return (*line, sae.loader, sae.hook_name or "?") if isinstance(sae, AnySae) else line


def _print_groups(saes: Sequence[Sae | AnySae]) -> None:
    for (release, model), group in groupby(saes, key=lambda sae: (sae.release, sae.model)):
        members = list(group)
        loader = f"  loader {members[0].loader}" if isinstance(members[0], AnySae) else ""
        print(f"{bold(release)}  {model}{loader}")
        longest = max(len(sae.sae_id) for sae in members)
        longest_hook = max(len(sae.hook_name or "?") for sae in members if isinstance(sae, AnySae)) if loader else 0
        for sae in members:
            width = f"{sae.d_sae:,}" if sae.d_sae else "?"
            hook = f"{sae.hook_name or '?':{longest_hook}}  " if isinstance(sae, AnySae) else ""
            print(f"  {sae.sae_id:{longest}}  {width:>9}  {hook}{sae.neuronpedia_id or '-'}")
    if saes:
        n_labelled = sum(bool(sae.neuronpedia_id) for sae in saes)
        without = f", {n_labelled:,} of them with labels on Neuronpedia" if n_labelled < len(saes) else ""
        print(f"{len(saes):,} SAEs{without}. To get one's labels: saefetch download --sae-release R --sae-id ID")


def _document(sae: Sae | AnySae) -> dict[str, object]:
    document: dict[str, object] = {
        "sae_release": sae.release,
        "sae_id": sae.sae_id,
        "num_features": sae.d_sae,
        "neuronpedia_id": sae.neuronpedia_id,
        "model": sae.model,
    }
    return document | {"loader": sae.loader, "hook_name": sae.hook_name} if isinstance(sae, AnySae) else document
