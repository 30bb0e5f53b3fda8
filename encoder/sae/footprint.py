"""Is it still the same SAE on disk? Its files are compared by name, size, times and inode, and none is read.

A footprint has every file that a loader may look at: all in an SAE's folder, two folders deep, and the configurations
beside it and above. A file that was added, removed, written or replaced makes another footprint; so does one that was
written with its size and its mtime put back, as no program can put the ctime back.

A file that is written again within the grain of its file system's clock keeps its times. So a footprint counts only
where its newest time was well past when the files began to be read. (git calls such files racily clean.)
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from encoder.stores.object_path import ObjectPath, number_of

CONFIGS = (".json", ".yaml", ".yml", ".toml", ".cfg", ".ini")
"""What loaders read beside an SAE's weights, or in the two folders above."""
DEPTH = 2
MAX_FILES = 1000
"""With more files than this around it, an SAE has no footprint: listing them would take as long as it saves."""
_NS = 1_000_000_000
FINE_NS, COARSE_NS = _NS // 10, 2 * _NS
"""The margin behind times that have fractions of a millisecond, and behind times of a coarser clock."""

Footprint = dict[str, list[int]]


def footprint_of(path: Path) -> Footprint | None:
    """Return size, mtime, ctime and inode of each file that belongs to the SAE at a path; None if they are too many.

    Raises: OSError if one of them cannot be looked at.
    """
    if isinstance(path, ObjectPath):
        files = files_at(path)
        if files is None:
            return None
        return {str(file): [file.known.size, 0, 0, number_of(file.known.etag)] for file in files.values()}
    path = path.absolute()
    found: Footprint = {}
    for file in _files_of(path):
        status = Path(file).stat()
        found[file] = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        if len(found) > MAX_FILES:
            return None
    return found


def files_at(path: ObjectPath) -> dict[str, ObjectPath] | None:
    """Return the files that belong to the SAE at an address, by their keys; None if they are too many."""
    found = {path.address.key: path} if path.is_file() else dict(_at_address(path, DEPTH))
    for folder in (path.parent, path.parent.parent):
        if folder.address.key or folder == path.parent:
            beside = (one for one in folder.iterdir() if one.name.endswith(CONFIGS) and one.is_file())
            found |= {one.address.key: one for one in beside}
    return None if len(found) > MAX_FILES else found


def _at_address(folder: ObjectPath, depth: int) -> Iterator[tuple[str, ObjectPath]]:
    for one in folder.iterdir():
        if one.is_file():
            yield one.address.key, one
        elif depth > 1:
            yield from _at_address(one, depth - 1)


def is_settled(footprint: Footprint, began_ns: int) -> bool:
    """Say whether a file that is written after `began_ns`, the time of this machine's clock, makes another footprint.

    `began_ns` is when the files began to be read.
    """
    for _, mtime, ctime, _ in footprint.values():
        margin = FINE_NS if ctime % 1_000_000 else COARSE_NS
        if max(mtime, ctime) > began_ns - margin:
            return False
    return True


def _files_of(path: Path) -> Iterator[str]:
    if path.is_dir():
        yield from _below(str(path), DEPTH)
    else:
        yield str(path)
    for folder in (path.parent, path.parent.parent):
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(CONFIGS) and entry.is_file():
                    yield entry.path


def _below(folder: str, depth: int) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file():
                yield entry.path
            elif depth > 1 and entry.is_dir():
                yield from _below(entry.path, depth - 1)
