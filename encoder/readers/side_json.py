"""Small JSON files that lie beside data files, and whole numbers in them. They are as hostile as the data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from encoder.errors import ShardError

MAX_JSON_BYTES = 4 << 20


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
