"""Whose result a features file is. A shard never replaces the result of another: the first to have a name keeps it.

The result at <out>                              of the shard               what becomes of it
names the shard's own path                       the same                   replaced, where it has to be made again
names a path that is gone; size and hash equal   the same, it was moved     replaced, where it has to be made again
is half a file, or none of this program          nobody's                   replaced
names another path                               another                    kept; the message says how both find room
is an npz without our `meta`, or the shard       the user's                 kept
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from encoder.errors import EncoderError, InputError
from encoder.file.feature_file import meta_of
from encoder.stores.object_path import is_there, path_of
from encoder.stores.same import is_of


def why_kept(out: Path, shard: Path, sha256: Callable[[], str]) -> str | None:
    """Say why the file at `out` may not become the result of `shard`; None if it may. `sha256` hashes the shard."""
    if _is_same_file(out, shard):
        return f"{out} is the shard itself: its features would replace it; choose another --out"
    try:
        meta = meta_of(out)
    except OSError:
        return None
    except EncoderError:
        return _foreign(out) if not _has_meta(out) else None
    theirs = meta.get("shard_path")
    if not isinstance(theirs, str):
        return _foreign(out)
    if theirs == str(shard):
        return None
    try:
        other = path_of(theirs, shard)
    except InputError:  # nothing that this version writes
        return _foreign(out)
    if _is_same_file(other, shard) or _was_moved(meta, other, shard, sha256):
        return None
    return (
        f"{out} is the result of {theirs}, and {shard} would take its name. To keep both, give this one --prefix NAME,"
        " or name a folder above both as the INPUT, or choose another --out"
    )


def _was_moved(meta: dict[str, Any], theirs: Path, shard: Path, sha256: Callable[[], str]) -> bool:
    try:
        return not is_there(theirs) and is_of(meta, shard, sha256)
    except OSError:
        return False


def _is_same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _has_meta(out: Path) -> bool:
    try:
        with out.open("rb") as file, zipfile.ZipFile(file) as archive:
            return "meta.npy" in archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return True  # damaged, and perhaps ours


def _foreign(out: Path) -> str:
    return f"{out} is there already and is no result of sae-encode; choose another --out, or move the file away"
