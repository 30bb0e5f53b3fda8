"""`saefetch status` and `saefetch verify`: which labels are on disk, how far they are, and whether they are sound."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from saefetch.cli.options import one_sae
from saefetch.errors import StoreError
from saefetch.inventory import Progress, check, folders, progress
from saefetch.names.identity import sae_folder
from saefetch.settings import load_settings
from saefetch.terminal.output import bold, print_json, remark


def status(data_dir: Path | None, config: Path | None, *, as_json: bool) -> None:
    """Print every SAE under the data folder and how far it is."""
    root = load_settings({"data_dir": data_dir}, config).data_dir
    found = [progress(folder) for folder in folders(root)]
    if as_json:
        print_json({"data_dir": str(root), "saes": [asdict(item) for item in found]})
    elif not found:
        print(f"No labels under {root} yet. `saefetch download` gets those of the default SAE.")
    else:
        for item in found:
            _print_progress(item, None if data_dir is None else str(data_dir))


def _print_progress(item: Progress, data_dir: str | None) -> None:
    print(bold(f"{item.sae_release}  {item.sae_id}"))
    if item.state == "unreadable":
        print(f"    unreadable: {item.next_step}")
        return
    counts = f"{item.successful:,} of {item.total_features:,} features"
    for n, what in ((item.missing, "missing"), (item.failed, "failed"), (item.remaining, "to fetch")):
        counts += f", {n:,} {what}" if n else ""
    source = f" of {item.neuronpedia_id}" if item.neuronpedia_id else ""
    print(f"    {item.state}: {counts}{source}")
    for line in _unexplained(item):
        print(f"    {line}")
    if item.state == "complete" and not item.has_more:
        print(f"    {item.next_step}")
        return
    command = ["saefetch", "download", *item.flags, *(["--data-dir", data_dir] if data_dir else [])]
    print(f"    running it again would {item.next_step}:")
    print(f"      {shlex.join(command)}")


def _unexplained(item: Progress) -> Iterator[str]:
    by_api, by_export = item.unexplained.get("api", 0), item.unexplained.get("export", 0)
    if by_api:
        asked = f", asked last on {item.unexplained_asked_at}" if item.unexplained_asked_at else ""
        yield f"{by_api:,} without an explanation, says the API{asked}"
    if by_export:
        yield f"{by_export:,} without an explanation in the export; only the API can tell whether they have one"


def verify(
    sae_release: str | None, sae_id: str | None, data_dir: Path | None, config: Path | None, *, as_json: bool
) -> None:
    """Check finished downloads; exit 1 if something is wrong, or if the SAE that was named is not there."""
    root, release, name = one_sae(sae_release, sae_id, data_dir, config)
    named = sae_release is not None or sae_id is not None
    checked = [sae_folder(root, release, name)] if named else list(folders(root))
    if not checked:
        raise StoreError(f"no labels under {root}; `saefetch download` gets some")
    problems = {str(folder): check(folder) for folder in checked}
    if as_json:
        print_json({"ok": not any(problems.values()), "problems": problems})
    for folder, found in problems.items():
        if not as_json:
            print(f"{folder}: {'sound' if not found else f'{len(found)} problem' + 's' * (len(found) > 1)}", flush=True)
        for problem in found:
            remark(f"    {problem}")
    if any(problems.values()):
        sys.exit(1)
