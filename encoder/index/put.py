"""Where an index goes: a folder that is made for it, held against others; or an address, by one conditional write."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from encoder.errors import EncoderError, InputError
from encoder.stores.object_path import ObjectPath
from encoder.stores.store import MAX_PUT_BYTES, write_over


def made(out: Path) -> Path:
    """Make the folder that an index goes to. Raises: InputError."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise InputError(f"--out {out}: cannot be made: {exc.strerror}") from exc
    return out


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the folder against others that build its index. Raises: EncoderError if another one does."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise EncoderError(f"{folder}: another process is making its index; wait for it") from exc
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(descriptor)


def put_index(local: Path, path: ObjectPath) -> None:
    """Write the index, over an older one of the same name if there is one. Raises: EncoderError."""
    n_bytes = local.stat().st_size
    if n_bytes > MAX_PUT_BYTES:
        raise EncoderError(
            f"{path}: the index has {n_bytes:,} bytes, more than one conditional write takes, {MAX_PUT_BYTES:,}; name a"
            " folder of this machine with --out"
        )
    key = path.address.key
    with local.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if not write_over(path.tree.store, key, data):
            raise EncoderError(f"{path}: is written again and again by others; wait for them, and run it again")
    path.tree.renew(key)
