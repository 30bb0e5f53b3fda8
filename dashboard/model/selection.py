"""Selections of documents: what a person types or pastes, as ranges of documents.

0-9,12   0 – 9 12               by number, both ends included
prose__a  prose__a..prose__f    by address, and ranges of addresses
tales__*                        a pattern of shards' names
tales                           a group, by its name
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase

from dashboard.errors import NotFoundError, RequestError
from dashboard.model.documents import Documents
from dashboard.model.sums import Ranges, complement, merge

RANGE = ".."
_RANGE = re.compile(r"([0-9]{1,15})(?:\s*[-\u2010-\u2015\u2212]\s*([0-9]{1,15}))?")
_RANGES = re.compile(rf"{_RANGE.pattern}(?:\s+{_RANGE.pattern})*")

Named = Mapping[str, Ranges]
"""Groups of documents by their names."""


def parse_selection(text: str, documents: Documents, name: str, groups: Named | None = None) -> Ranges:
    """Read documents by number, address, pattern or group. Raises: RequestError, with the parameter's name."""
    ranges: list[tuple[int, int]] = []
    for part in map(str.strip, re.split(r"[,;\n]", text)):
        if groups and part in groups:
            ranges += groups[part]
        elif re.search(r"[*?\[]", part):
            ranges += _of_pattern(part, documents, name)
        elif _RANGES.fullmatch(part):
            ranges += [_between(documents, first, last or first, part, name) for first, last in _RANGE.findall(part)]
        else:
            first, _, last = part.partition(RANGE)
            ranges.append(_between(documents, first.strip(), last.strip() or first.strip(), part, name))
    return merge(ranges)


def _of_pattern(pattern: str, documents: Documents, name: str) -> list[tuple[int, int]]:
    paths = documents.features.paths
    found = [documents.of_shard(i) for i, path in enumerate(paths) if fnmatchcase(path.stem, pattern)]
    if not any(start < stop for start, stop in found):
        raise RequestError(f"{name} {pattern[:200]!r}: no shard has such a name")
    return found


def _between(documents: Documents, first: str, last: str, part: str, name: str) -> tuple[int, int]:
    try:
        start, end = documents.find(first), documents.find(last)
    except NotFoundError as exc:
        expected = "expected documents by number or name, such as 0-9,12"
        raise RequestError(f"{name} {part[:200]!r}: {exc}; {expected}") from exc
    if end < start:
        raise RequestError(f"{name} {part[:200]!r}: the range ends before it begins")
    return start, end + 1


def selection_of(documents: Documents, ranges: Ranges) -> str | None:
    """Write a selection by addresses, so that it means the same documents when a shard arrives.

    None where an address would not be read back.
    """
    parts = []
    for start, stop in ranges:
        ends = [documents[number].address for number in {start: 0, stop - 1: 0}]
        if any("," in end or RANGE in end for end in ends):
            return None
        parts.append(RANGE.join(ends))
    return ",".join(parts)


def parse_selections(a: str, b: str, documents: Documents, groups: Named | None = None) -> tuple[Ranges, Ranges]:
    """Read two selections, of which one may be "rest". Raises: RequestError, also where they overlap."""
    if a == b == "rest":
        raise RequestError("a and b: only one of them can be the rest")
    parsed = [
        () if text == "rest" else parse_selection(text, documents, name, groups) for text, name in ((a, "a"), (b, "b"))
    ]
    for i, text in enumerate((a, b)):
        if text == "rest":
            parsed[i] = complement(parsed[1 - i], len(documents))
            if not parsed[i]:
                raise RequestError(f"{'ab'[i]}: nothing is left, the other selection has all documents")
    if both := _common(parsed[0], parsed[1]):
        n = sum(stop - start for start, stop in both)
        such = documents[both[0][0]].address
        raise RequestError(f"a and b have {n:,} document{'s' * (n > 1)} in common, such as {such}: leave out of one")
    return parsed[0], parsed[1]


def _common(a: Ranges, b: Ranges) -> Ranges:
    pairs = ((max(x[0], y[0]), min(x[1], y[1])) for x in a for y in b)
    return merge([(start, stop) for start, stop in pairs if start < stop])
