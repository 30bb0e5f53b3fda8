"""The words of all shards, by row on disk, and then by word: `words.py` says what a word is.

Entries go to nameless files as rows go by, so memory holds the distinct texts and no more than was allowed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any, Self

import numpy as np

from encoder.arrays import I32, I64, AnyArray, Bool
from encoder.file.folder import Features
from encoder.index.loops import place_words
from encoder.index.runs import Spool, split
from encoder.index.words import MOST_TOKENS, begins_within, ends_within, is_continued, plain

BLOCK_ROWS = 1 << 16
PIECES_ONE_IN = 50
"""Where more than one of so many distinct tokens is spelt as ##able, no other token goes on with a word."""
MAX_TEXT_BYTES = 1 << 10
"""A longer text is found by none."""

Member = tuple[str, Any, tuple[int, ...], Any]
"""What `write_member` takes of an array: its name, dtype, shape and parts."""


class WordRuns:
    """Collects the words of features files; `members` are the arrays of the index."""

    def __init__(self, folder: Path, memory: int) -> None:
        self._capacity = max(memory // 16, 1 << 16)
        self._numbers: dict[bytes, int] = {}
        self._cleanup = ExitStack()
        self._rows, self._ids = Spool(folder, "<i8"), Spool(folder, "<i4")
        for spool in (self._rows, self._ids):
            self._cleanup.callback(spool.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def collect(self, features: Features, check: Callable[[], None]) -> None:
        """Go through all rows that count; `check` is called now and then, and may raise."""
        for shard in range(features.n_shards):
            first_row, stop_row = (int(row) for row in features.first_rows[shard : shard + 2])
            vocabulary = _Vocabulary(self._number)
            for at in range(0, stop_row - first_row, BLOCK_ROWS):
                check()
                n = min(BLOCK_ROWS, stop_row - first_row - at)
                tokens = features.tokens(shard, at, at + n)
                texts = tokens.texts
                if texts is None and tokens.token_ids is not None:
                    texts = [f"#{number}" for number in tokens.token_ids.tolist()]
                if texts is None:
                    break
                joins = tokens.texts is not None
                said = None if tokens.row_document is None else np.asarray(tokens.row_document)
                self._add(first_row + at, vocabulary, texts, said, features.counts(shard, at, at + n), joins=joins)

    def _add(
        self, first_row: int, vocabulary: _Vocabulary, texts: list[str], said: I64 | None, counts: Bool, *, joins: bool
    ) -> None:
        """Take the tokens of a block; a word does not go on across the end of a block."""
        raw = vocabulary.number(texts)
        ids = np.where(counts, vocabulary.words[raw], -1)
        at = np.flatnonzero(ids >= 0)
        rows, found = at, ids[at]
        if joins:
            goes_on = np.zeros(len(raw) + 1, np.bool_)
            goes_on[1:-1] = vocabulary.goes_on(raw) & counts[:-1] & counts[1:]
            if said is not None:
                goes_on[1:-1] &= said[1:] == said[:-1]
            edges = np.flatnonzero(np.diff(goes_on.astype(np.int8)))
            starts, stops = edges[::2], edges[1::2] + 1
            kept = stops - starts <= MOST_TOKENS
            joined = vocabulary.join(raw, starts[kept], stops[kept])
            rows, found = np.concatenate([rows, starts[kept]]), np.concatenate([found, joined])
            order = np.argsort(rows, kind="stable")
            rows, found = rows[order], found[order]
        self._rows.append(rows + first_row)
        self._ids.append(found)

    def _number(self, text: str) -> int:
        """Return a text's number, -1 for none that is looked for."""
        encoded = text.encode("utf-8", "surrogatepass")
        if not encoded or len(encoded) > MAX_TEXT_BYTES:
            return -1
        return self._numbers.setdefault(encoded, len(self._numbers))

    def members(self, row: np.dtype[Any], check: Callable[[], None]) -> Iterator[Member]:
        """Yield the arrays, the texts in the order of their bytes."""
        texts = sorted(self._numbers)
        place = np.zeros(max(1, len(texts)), "<i4")
        place[[self._numbers[text] for text in texts]] = np.arange(len(texts))
        n_rows = np.zeros(len(texts), np.int64)
        for ids in self._ids.parts():
            n_rows += np.bincount(place[ids], minlength=len(texts))[: len(texts)]
        indptr, offsets = np.zeros(len(texts) + 1, "<i8"), np.zeros(len(texts) + 1, "<i8")
        np.cumsum(n_rows, out=indptr[1:])
        np.cumsum([len(text) for text in texts], out=offsets[1:])
        yield "words", "|u1", (int(offsets[-1]),), [b"".join(texts)]
        yield "word_offsets", "<i8", offsets.shape, [offsets.data]
        yield "word_indptr", "<i8", indptr.shape, [indptr.data]
        yield "word_rows", row, (int(indptr[-1]),), self._by_word(place, indptr, row, check)

    def _by_word(self, place: I32, indptr: I64, row: np.dtype[Any], check: Callable[[], None]) -> Iterator[Any]:
        """Yield the rows of all words, as many words at a time as fit into memory."""
        for start, stop in split(indptr, self._capacity, len(indptr)):
            cursors = indptr[start:stop] - indptr[start]
            out = np.empty(int(indptr[stop] - indptr[start]), row)
            for rows, ids in zip(self._rows.parts(), self._ids.parts(), strict=True):
                check()
                place_words(rows, place[ids], start, stop, cursors, out)
            yield out.data


class _Vocabulary:
    """The distinct tokens of a shard, and the words that were made of them."""

    def __init__(self, number: Callable[[str], int]) -> None:
        self._number_of = number
        self._seen: defaultdict[str, int] = defaultdict(count().__next__)
        self._plain: list[str] = []
        self._joined: dict[bytes, int] = {}
        self.words: AnyArray = np.zeros(0, np.int64)
        self._begins: Bool = np.zeros(0, np.bool_)
        self._ends: Bool = np.zeros(0, np.bool_)
        self._continued: Bool = np.zeros(0, np.bool_)

    def number(self, texts: list[str]) -> I32:
        """Return the number of each token."""
        seen = self._seen
        numbers = np.fromiter(map(seen.__getitem__, texts), np.int32, len(texts))
        new = list(seen)[len(self._plain) :] if len(seen) > len(self._plain) else []
        if new:
            spelt = [plain(text) for text in new]
            self._plain += spelt
            self.words = np.append(self.words, [self._number_of(text) for text in spelt])
            self._begins = np.append(self._begins, [begins_within(text) for text in new])
            self._ends = np.append(self._ends, [ends_within(text) for text in new])
            self._continued = np.append(self._continued, [is_continued(text) for text in new])
        return numbers

    def goes_on(self, raw: I32) -> Bool:
        """Say which tokens after the first go on with the word before them."""
        if PIECES_ONE_IN * self._continued.sum() > len(self._continued):
            return self._continued[raw[1:]]
        return self._ends[raw[:-1]] & self._begins[raw[1:]]

    def join(self, raw: I32, starts: I64, stops: I64) -> I64:
        """Return the number of the word that the tokens of each stretch make."""
        joined, encoded = self._joined, raw.tobytes()
        found = np.empty(len(starts), np.int64)
        for i, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
            key = encoded[4 * start : 4 * stop]
            number = joined.get(key)
            if number is None:
                spelt = "".join([self._plain[token] for token in raw[start:stop].tolist()])
                number = joined[key] = self._number_of(spelt)
            found[i] = number
        return found
