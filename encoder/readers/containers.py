"""What a file of arrays, or a member of an archive, is by its first bytes, and how its arrays are found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from encoder.readers import numpy_archive, numpy_header, safetensors_header, torch_archive, torch_legacy

HEAD_BYTES = 512


def loader_of(path: Path, head: bytes, size: int, begin: int = 0) -> Callable[[], Any] | None:
    """Return what gives the arrays of the `size` bytes from `begin` on, which start with `head`.

    That is an `Array`, or dicts and lists of them; None is returned where the first bytes are of another format.
    """
    if torch_archive.looks_like(head):
        return lambda: torch_archive.load(path, size, begin)
    if torch_legacy.looks_like(head):
        return lambda: torch_legacy.load(path, size, begin)
    if safetensors_header.looks_like(head, size):
        return lambda: safetensors_header.load(path, size, begin)
    if numpy_archive.looks_like(head):
        return lambda: numpy_archive.load(path, size, begin)
    if begin and head.startswith(numpy_header.MAGIC):
        return lambda: numpy_header.array_at(path, size, begin)
    return None
