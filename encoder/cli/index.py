"""`sae-encode index`: the index of a folder of features, by feature."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from encoder.errors import EncoderError
from encoder.file.folder import open_features
from encoder.file.sae_folders import sae_folders
from encoder.index import FeatureIndex
from encoder.index.format import open_index_file, place_of, state_of
from encoder.machine.signals import signals
from encoder.rows import in_words
from saefetch.files.digest import Stopped
from saefetch.terminal.output import same_command
from saefetch.terminal.progress import make_display


def index(folder: Path, out: Path | None, memory_mb: int, *, as_json: bool, quiet: bool) -> None:
    """Make the index of each SAE in the folder unless it is there, in the folder `out` if given. Raises: EncoderError.

    With `as_json` one object is printed, or {"saes": [object of each]} for a folder of several SAEs.
    """
    try:
        names = list(sae_folders(folder))
    except OSError:
        names = []  # to read it is to be told why
    made = []
    which: list[str | None] = [*names] or [None]
    for name in which:
        features, path = place_of(folder, out, name)
        summary = _make(features, path, memory_mb, quiet=quiet)
        made.append(summary if name is None else {"sae": name, **summary})
        if not as_json and not quiet:
            print(_in_words(summary))
    if as_json:
        print(json.dumps({"saes": made} if names else made[0]), flush=True)


def _make(features: Path, path: Path, memory_mb: int, *, quiet: bool) -> dict[str, Any]:
    began = time.monotonic()
    is_made = not _is_ready(features, path)
    if is_made:
        from encoder.index.build import build_index  # takes numba along

        stopped_by: list[int] = []
        try:
            with make_display(not quiet) as display, signals(lambda: None) as stopped_by:
                display.begin("index, in percent", 100)
                build_index(
                    features,
                    path.parent,
                    memory_bytes=memory_mb << 20,
                    watch=lambda done, total: display.advance("index, in percent", 100 * done // max(1, total)),
                    stopping=lambda: bool(stopped_by),
                )
        except Stopped:
            again = same_command("sae-encode", "encoder")
            print(f"Interrupted; nothing was changed. To start again: {again}", file=sys.stderr)
            sys.exit(128 + stopped_by[0])
    with FeatureIndex(open_index_file(path, features)) as made:
        rows, width = made.shape
        return {
            "state": "made" if is_made else "unchanged",
            "path": str(made.path),
            "shards": len(made.meta["shards"]),
            "rows": rows,
            "rows_counted": made.n_rows_counted,
            "excluded": made.excluded,
            "d_sae": width,
            "nnz": made.nnz,
            "n_documents": made.n_documents_total,
            "bytes": made.path.stat().st_size,
            "elapsed_s": round(time.monotonic() - began, 3),
        }


def _is_ready(folder: Path, path: Path) -> bool:
    """Say whether there is nothing to do. A damaged index is made again."""
    try:
        made = open_index_file(path, folder)
    except EncoderError:
        return False
    with open_features(folder) as features:
        return made.has_words and state_of(made, features) == "ready"


def _in_words(summary: Mapping[str, Any]) -> str:
    words = "{nnz:,} values of {d_sae:,} features on {rows_counted:,} rows, {n_documents:,} documents".format(**summary)
    if summary["rows_counted"] != summary["rows"]:
        words += f"; {in_words(summary['excluded'])}"
    if summary["state"] == "unchanged":
        return f"{words}; nothing to do\n{summary['path']}"
    return f"{words} ({summary['elapsed_s']:.1f} s)\n{summary['path']}"
