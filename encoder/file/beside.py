"""What a run leaves in the folder of its results beside them: with what they are made, and why others are missing."""

from __future__ import annotations

from pathlib import Path

RUN = "_run.json"
FAILED = "_failed"
"""A folder, with a .json for each shard that failed."""


def is_beside(path: Path) -> bool:
    """Say whether a file is, by its name, one of these."""
    return path.name == RUN or (path.parent.name == FAILED and path.suffix == ".json")
