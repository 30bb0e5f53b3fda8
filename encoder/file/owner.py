"""Whose result a features file is. A shard never replaces the result of another: the first to have a name keeps it.

The result at <out>                              of the shard               what becomes of it
names the shard's own path                       the same                   replaced, where it has to be made again
names a path that is gone; size and hash equal   the same, it was moved     replaced, where it has to be made again
is half a file, or none of this program          nobody's                   replaced
names another path                               another                    kept; the message says how both find room
is an npz without our `meta`, or the shard       the user's                 kept
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from encoder.errors import EncoderError
from encoder.file.feature_file import open_file
from saefetch.files.digest import status_of


def why_kept(out: Path, shard: Path, sha256: Callable[[], str]) -> str | None:
    """Say why the file at `out` may not become the result of `shard`; None if it may. `sha256` hashes the shard."""
    if _is_same_file(out, shard):
        return f"{out} is the shard itself: its features would replace it; choose another --out"
    try:
        meta = open_file(out).meta
    except OSError:
        return None
    except EncoderError:
        return _foreign(out) if zipfile.is_zipfile(out) and not _has_meta(out) else None
    theirs = meta.get("shard_path")
    if not isinstance(theirs, str):
        return _foreign(out)
    if theirs == str(shard) or _is_same_file(Path(theirs), shard) or _was_moved(meta, Path(theirs), shard, sha256):
        return None
    return (
        f"{out} is the result of {theirs}, and {shard} would take its name. To keep both, give this one --prefix NAME,"
        " or name a folder above both as the INPUT, or choose another --out"
    )


def is_of(meta: dict[str, Any], shard: Path, sha256: Callable[[], str]) -> bool:
    """Say whether a result with this `meta`, which is the shard's own, is of the shard as it is now."""
    status = status_of(shard)
    if meta.get("shard_size") != status.st_size:
        return False
    is_as_it_was = meta.get("shard_path") == str(shard) and meta.get("shard_mtime_ns") == status.st_mtime_ns
    return is_as_it_was or meta.get("shard_sha256") == sha256()


def _was_moved(meta: dict[str, Any], theirs: Path, shard: Path, sha256: Callable[[], str]) -> bool:
    try:
        return not os.path.lexists(theirs) and is_of(meta, shard, sha256)
    except OSError:
        return False


def _is_same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _has_meta(out: Path) -> bool:
    try:
        with zipfile.ZipFile(out) as archive:
            return "meta.npy" in archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return True  # damaged, and perhaps ours


def _foreign(out: Path) -> str:
    return f"{out} is there already and is no result of sae-encode; choose another --out, or move the file away"
