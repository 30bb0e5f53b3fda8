"""The file that a reader is asked about, and what the caller wants of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from encoder.errors import ShardError
from encoder.readers import numpy_archive, safetensors_header, torch_archive
from encoder.readers.arrays import Array

MAX_JSON_BYTES = 4 << 20
HEAD_BYTES = 512


@dataclass(frozen=True)
class Source:
    """One data file; its parsed contents are kept, as several readers look at them."""

    path: Path
    size: int
    head: bytes  # the first HEAD_BYTES, or fewer
    d_in: int | None
    select: Mapping[str, str]
    root: Path | None

    @classmethod
    def of(cls, path: Path, d_in: int | None, select: Mapping[str, str], root: Path | None) -> Source:
        if not path.is_file():
            raise ShardError(f"{path}: {'not a regular file' if path.exists() else 'there is no such file'}")
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        return cls(path, path.stat().st_size, head, d_in, select, root)

    @cached_property
    def contents(self) -> Any:
        """What a safetensors, torch or npz file holds: an `Array`, or dicts and lists of them; None for other files."""
        if torch_archive.looks_like(self.head):
            return torch_archive.load(self.path)
        if safetensors_header.looks_like(self.head, self.size):
            return safetensors_header.load(self.path, self.size)
        if numpy_archive.looks_like(self.head):
            return numpy_archive.load(self.path)
        return None

    def has_arrays(self, *names: str) -> bool:
        """Whether the file is a mapping with an array under each of these names."""
        contents = self.contents
        return isinstance(contents, dict) and all(isinstance(contents.get(name), Array) for name in names)

    def allow_select(self, *keys: str) -> None:
        """Refuse a --select that this format has no use for; `dtype` is a declaration and is always allowed."""
        for key in self.select:
            if key not in keys and key != "dtype":
                raise ShardError(
                    f"{self.path}: --select {key}={self.select[key]} has nothing to choose in this format;"
                    f" it takes {', '.join(keys) or 'no --select'}"
                )


def read_json_list(path: Path) -> list[Any]:
    """Read a small JSON array that lies beside a data file."""
    loaded = _read_json(path)
    if not isinstance(loaded, list):
        raise ShardError(f"{path}: expected a JSON array, got {type(loaded).__name__}")
    return loaded


def read_json(path: Path) -> dict[str, Any]:
    """Read a small JSON object that lies beside a data file."""
    loaded = _read_json(path)
    if not isinstance(loaded, dict):
        raise ShardError(f"{path}: expected a JSON object, got {type(loaded).__name__}")
    return loaded


def _read_json(path: Path) -> Any:
    if path.exists() and not path.is_file():
        raise ShardError(f"{path}: not a regular file; remove it")
    try:
        size = path.stat().st_size
        if size > MAX_JSON_BYTES:
            raise ShardError(f"{path}: {size} bytes of JSON, expected at most {MAX_JSON_BYTES}: not this format's file")
        return json.loads(path.read_bytes())
    except OSError as exc:
        raise ShardError(f"{path}: cannot be read: {exc.strerror}; copy the folder again, whole") from exc
    except (ValueError, RecursionError) as exc:
        raise ShardError(f"{path}: not valid JSON ({exc}); copy it again from where it was written") from exc


def count(value: object, what: str, path: Path) -> int:
    """Check that a JSON value is a whole number from 0 to 2^62."""
    if type(value) is not int or not 0 <= value <= 1 << 62:
        raise ShardError(f"{path}: {what} is {str(value)[:80]!r}, expected a whole number from 0")
    return value
