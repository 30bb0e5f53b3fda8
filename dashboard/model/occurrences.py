"""Where a word stands in the texts, and which features fire on it more than elsewhere."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dashboard.errors import NotReadyError
from dashboard.model.look import Look
from encoder.arrays import F64, I64, Int
from encoder.index.words import MOST_TOKENS, Words, length_at, plain

MOST_LOOKED_AT = 1000
"""So many occurrences, evenly spread, say what fires on a word that stands more often."""
LEAST_SHARE = 0.1
"""A feature that fires on less of the occurrences is not listed: of 16,384 some do by chance."""
READ_AT_ONCE = 256
_WORD = re.compile(r"[^\W_]+")


def words_of(look: Look) -> Words:
    """Raises: NotFoundError, NotReadyError where there is no index, or one without words."""
    words = look.index.words
    if words is None:
        raise NotReadyError(f"this needs the words of the index; make it anew: {look.index_command}")
    return words


def rows_of(look: Look, word: str, *, is_beginning: bool = False) -> Int:
    """Return the rows on which a word stands, or any word that begins so, rising."""
    words, sought = words_of(look), plain(word)
    found = [words.rows_of_beginning(sought) if is_beginning else words.rows(sought)]
    if words.by_id and sought:
        spelt = look.features.kept.get("words by id", lambda: _spelt(look, words))
        texts = [text for text in spelt if text.startswith(sought)] if is_beginning else [sought]
        found += [words.rows_at(place) for text in texts for place in spelt.get(text, ())]
    return np.unique(np.concatenate(found)) if is_beginning or len(found) > 1 else found[0]


def _spelt(look: Look, words: Words) -> dict[str, list[int]]:
    """Return the places of ids of tokens by the texts that the vocabulary has for them."""
    places: dict[str, list[int]] = defaultdict(list)
    for number, place in words.by_id.items():
        places[plain(look.vocabulary.text(number))].append(place)
    return places


def documents_with(look: Look, query: str) -> I64:
    """Return the documents that hold all words of a query, rising; the last word may be a beginning."""
    found: I64 | None = None
    sought = _WORD.findall(query)
    for i, word in enumerate(sought):
        is_beginning = i == len(sought) - 1 and query.endswith(word)
        here = np.unique(look.features.documents.of_rows(rows_of(look, word, is_beginning=is_beginning)))
        found = here if found is None else np.intersect1d(found, here, assume_unique=True)
    return np.zeros(0, np.int64) if found is None else found


def lengths_of(look: Look, rows: Int, word: str) -> I64:
    """Return of how many tokens each occurrence is made. Those that are near each other are read at once."""
    documents, lengths = look.features.documents, np.ones(len(rows), np.int64)
    of = documents.of_rows(rows)
    is_far = np.append(True, (np.diff(rows) > READ_AT_ONCE) | (np.diff(of) > 0))[: len(rows)]
    edges = [*np.flatnonzero(is_far).tolist(), len(rows)]
    for first, stop in pairwise(edges):
        document = documents[int(of[first])]
        start, end = int(rows[first]) - document.first_row, int(rows[stop - 1]) - document.first_row + MOST_TOKENS
        texts = look.texts(document, start, min(document.n_rows, end))
        at = (rows[first:stop] - rows[first]).tolist()
        lengths[first:stop] = [length_at(texts, place, plain(word)) for place in at]
    return lengths


@dataclass(frozen=True, slots=True)
class Lifted:
    """Features that fire on a word, the largest lift first: on `hits` of the `n` occurrences that were looked at.

    `lift` is that share over the share of all tokens that count on which the feature fires.
    """

    n: int
    columns: I64
    hits: I64
    lift: F64


def lifted(look: Look, rows: Int, word: str) -> Lifted:
    """Say which features fire on a word; one that fires on any of its tokens fires on it."""
    rows = some_of(rows)
    return lifted_on(look, rows, lengths_of(look, rows, word))


def some_of(rows: Int) -> I64:
    """Return as many of the rows as are looked at, evenly spread."""
    if len(rows) > MOST_LOOKED_AT:
        rows = rows[np.linspace(0, len(rows) - 1, MOST_LOOKED_AT).astype(np.int64)]
    return rows.astype(np.int64)


def lifted_on(look: Look, rows: Int, lengths: I64 | None = None) -> Lifted:
    """Say which features fire on stretches of rows more often than elsewhere; without `lengths` on single rows."""
    corpus, index = look.features, look.index
    if lengths is None:
        rows = some_of(rows)
        lengths = np.ones(len(rows), np.int64)
    occurrence = np.repeat(np.arange(len(rows)), lengths)
    within = np.arange(len(occurrence)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    matrix = corpus.features[np.repeat(rows, lengths).astype(np.int64) + within]
    of_entries = np.repeat(occurrence, np.diff(matrix.indptr))
    pairs = np.unique(of_entries * corpus.d_sae + matrix.indices)
    hits = np.bincount(pairs % max(1, corpus.d_sae), minlength=corpus.d_sae)
    columns = np.flatnonzero(hits >= max(1, min(2, len(rows)), LEAST_SHARE * len(rows)))
    shares = hits[columns] / max(1, len(rows))
    lift = shares / np.maximum(index.density[columns], 1 / max(1, index.n_rows_counted))
    order = np.lexsort((columns, -hits[columns], -lift))
    return Lifted(len(rows), columns[order], hits[columns][order], lift[order])
