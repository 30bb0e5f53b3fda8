"""`saefetch status` and `saefetch verify`: what is on disk, and whether it is sound."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

from saefetch.cli.options import one_sae, print_json
from saefetch.errors import StoreError
from saefetch.identity import sae_folder
from saefetch.inventory import check, folders, progress
from saefetch.settings import load_settings


def status(data_dir: Path | None, config: Path | None, *, as_json: bool) -> None:
    """Print every SAE under the data folder and how far it is."""
    root = load_settings({"data_dir": data_dir}, config).data_dir
    found = [progress(folder) for folder in folders(root)]
    if as_json:
        print_json({"data_dir": str(root), "saes": [asdict(item) for item in found]})
        return
    if not found:
        print(f"No labels under {root} yet. `saefetch download` gets those of the default SAE.")
        return
    for item in found:
        print(f"{item.sae_release}  {item.sae_id}  ({item.neuronpedia_id or 'unknown'})")
        counts = f"{item.successful:,} of {item.total_features:,} features"
        for n, what in ((item.missing, "missing"), (item.failed, "failed"), (item.remaining, "to fetch")):
            counts += f", {n:,} {what}" if n else ""
        print(f"    {item.state}: {counts}")
        print(
            f"    running it again would: {item.next_step}" if item.state == "incomplete" else f"    {item.next_step}"
        )


def verify(
    sae_release: str | None, sae_id: str | None, data_dir: Path | None, config: Path | None, *, as_json: bool
) -> None:
    """Check finished downloads; exit 1 if something is wrong, or if what was named is not there."""
    root, release, name = one_sae(sae_release, sae_id, data_dir, config)
    named = sae_release is not None or sae_id is not None
    checked = [sae_folder(root, release, name)] if named else list(folders(root))
    if not checked:
        raise StoreError(f"no labels under {root}; `saefetch download` gets some")
    problems = {str(folder): check(folder) for folder in checked}
    if as_json:
        print_json({"ok": not any(problems.values()), "problems": problems})
    else:
        for folder, found in problems.items():
            print(f"{folder}: {'sound' if not found else f'{len(found)} problems'}")
            for problem in found:
                print(f"    {problem}", file=sys.stderr)
    if any(problems.values()):
        sys.exit(1)
