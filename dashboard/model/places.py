"""Where things lie on this machine is nobody's business who looks at the page, or gets it as files.

A path that the user typed relative to where the command was started is shown as typed. An absolute one is shown by a
word in its place, such as FEATURES, as in the help; a command with that word says what to do, and not where. Other
absolute paths, in the messages of errors and in what shards say of their origin, are shown by their last part. Only
what the program itself says is changed: texts of documents and labels may hold paths, and are shown as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

_PLACE = re.compile(r"(?<![\w/.:~<])/(?:[^/\s'\":,;()<>]+/)*[^/\s'\":,;()<>]+/?")


def shown(path: Path, word: str) -> str:
    return word if path.is_absolute() else str(path)


class Places:
    """Folders that the command was told of, each with the word that stands for it where it was typed absolute."""

    def __init__(self, named: Iterable[tuple[Path | None, str]]) -> None:
        spelt: dict[str, str] = {}
        for path, word in named:
            if path is not None:
                spelt |= {str(one): shown(path, word) for one in (path.absolute(), path.resolve()) if one.name}
        longest_first = sorted(spelt, key=len, reverse=True)
        self._spelt = spelt
        self._known = re.compile("|".join(f"{re.escape(one)}(?![\\w.-])" for one in longest_first) or r"(?!)")

    def hide(self, text: str) -> str:
        """Return a text without absolute paths."""
        if "/" not in text:
            return text
        text = self._known.sub(lambda found: self._spelt[found[0]], text)
        return _PLACE.sub(lambda found: found[0].rstrip("/").rpartition("/")[2], text)
