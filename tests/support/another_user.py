"""A folder of another user, which may be read and not written, and being that other user for a while."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534


@contextmanager
def open_folder() -> Iterator[Path]:
    """Make a folder that every user can reach; pytest's own can only be reached by who runs the tests."""
    folder = Path(tempfile.mkdtemp(prefix="saefetch-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        for path in (folder, *folder.rglob("*")):
            if path.is_dir():
                path.chmod(0o755)
        shutil.rmtree(folder)


@contextmanager
def reading_only(folder: Path) -> Iterator[None]:
    """Take everybody's right to write below the folder, and be another user than root, whom nothing is forbidden.

    What the block imports must be imported already: the interpreter's own files may be out of the other user's reach.
    """
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
