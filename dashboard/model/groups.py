"""Groups of documents with names: from `groups.json` in the features' folder, else from the names of the shards.

    {"scripture": "scripture__*", "two tales": ["tales__fox", "12-14"]}      groups.json: names, and selections

Without the file a group is what shards have in front of the first `__` of their names, which is the folder that their
inputs were in; where that is the same for all of them, what comes up to the next `__`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dashboard.errors import RequestError
from dashboard.model.corpus import Corpus
from dashboard.model.look import Look
from dashboard.model.selection import parse_selection
from dashboard.model.sums import Ranges, merge

FILE_NAME, SEPARATOR = "groups.json", "__"
MOST_BYTES, MOST_GROUPS = 1 << 20, 1000


@dataclass(frozen=True, slots=True)
class Groups:
    """Documents by the name of their group. `error` says why groups.json cannot be read."""

    by_name: Mapping[str, Ranges] = field(default_factory=dict)
    error: str | None = None


def groups_of(look: Look) -> Groups:
    corpus, folder = look.features, look.settings.features
    path = (folder.parent if folder.is_file() else folder) / FILE_NAME
    try:
        stat = path.stat()
    except OSError:
        return corpus.kept.get("groups", lambda: Groups(_by_names(corpus)))
    version = stat.st_mtime_ns, stat.st_size, stat.st_ino
    return corpus.kept.get("groups of the file", lambda: _of_file(path, corpus), version)


def _by_names(corpus: Corpus) -> dict[str, Ranges]:
    names = {shard: corpus.name(shard).split(SEPARATOR) for shard in corpus.shards}
    for depth in range(1, max(map(len, names.values()), default=1)):
        found: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for shard, parts in names.items():
            if len(parts) > depth:
                found[SEPARATOR.join(parts[:depth])].append(corpus.documents.of_shard(shard))
        if len(found) > 1:
            return {name: merge(ranges) for name, ranges in list(found.items())[:MOST_GROUPS] if merge(ranges)}
    return {}


def _of_file(path: Path, corpus: Corpus) -> Groups:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError("it is larger than 1 MB")
        told = json.loads(path.read_bytes())
        if not isinstance(told, dict):
            raise ValueError('expected {"name": "selection", ...}')
        return Groups({name: _selection(told[name], name, corpus) for name in list(told)[:MOST_GROUPS]})
    except (OSError, ValueError, RecursionError, RequestError) as exc:
        return Groups(error=f"{FILE_NAME}: {str(exc)[:300]}")


def _selection(told: object, name: str, corpus: Corpus) -> Ranges:
    parts = [told] if isinstance(told, str) else told
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise ValueError(f"{name[:100]!r}: expected a selection, such as tales__*, or a list of them")
    ranges = [bounds for part in parts for bounds in parse_selection(part, corpus.documents, repr(name[:100]))]
    return merge(ranges)
