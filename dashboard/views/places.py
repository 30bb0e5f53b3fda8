"""Where things lie on this machine is nobody's business who looks at the page, or gets it as files.

A path below the folder that the command was started in is shown relative to it, any other by its last part. Only what
the program itself says is changed; texts of documents and labels may hold paths, and are shown as they are.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
_PLACE = re.compile(r"(?<![\w/.:~<])/(?:[^/\s'\":,;()<>]+/)*[^/\s'\":,;()<>]+/?")


def without_places(answer: T) -> T:
    """Return a JSON document, or a text, without absolute paths in its texts. Keys are left as they are."""
    here = str(Path.cwd())

    def shown(found: re.Match[str]) -> str:
        path = found[0]
        return path[len(here) + 1 :] if path.startswith(here + "/") else path.rstrip("/").rpartition("/")[2]

    def walk(value: object) -> object:
        if isinstance(value, str):
            return _PLACE.sub(shown, value) if "/" in value else value
        if isinstance(value, dict):
            return {key: walk(item) for key, item in value.items()}
        return [walk(item) for item in value] if isinstance(value, list) else value

    return walk(answer)  # type: ignore[return-value]  # of the same shape
