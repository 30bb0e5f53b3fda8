"""Ranked full-text search over the labels: FTS5, in the store's own file.

    documents(id, idx, text)    one row a described feature, all its texts, the shortest label first
    search                      FTS5 over documents.text: porter stems, accents folded, prefixes of 2 and 3 indexed

Labels are short, and a word rarely stands twice in one, so BM25 ranks the labels that match by their length. Numbering
the documents by length makes FTS5 yield the best matches first: `POOL` of them are enough to rank, however many match,
and a word that half a million labels contain costs no more than a rare one.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from saefetch.errors import UsageError
from saefetch.explanations import Preference
from saefetch.publish import all_texts
from saefetch.store import Store

POOL = 500
MARK = "\x02", "\x03"
"""Put around each matched word in `Match.marked`."""

_TABLES = """
DROP TABLE IF EXISTS {schema}.search;
DROP TABLE IF EXISTS {schema}.documents;
CREATE TABLE {schema}.documents (id INTEGER PRIMARY KEY, idx INTEGER NOT NULL, text TEXT NOT NULL);
CREATE VIRTUAL TABLE {schema}.search USING fts5 (
    text, content = 'documents', content_rowid = 'id', prefix = '2 3',
    tokenize = 'porter unicode61 remove_diacritics 2');
"""


@dataclass(frozen=True, slots=True)
class Match:
    """One hit: the higher the score the better. `marked` is the text with `MARK` around the matched words."""

    index: int
    score: float
    marked: str


def build(store: Store, n_features: int, preference: Preference) -> None:
    """Make the index over what the store holds now."""
    with store.transaction() as connection:
        _build(connection, "main", store, n_features, preference)
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('searchable', ?)", (store.generation,))


def search(store: Store, query: str, limit: int) -> list[Match]:
    """Find the labels that hold all of the query's words, or where none does, any of them; the best first.

    `word*` matches a beginning, `"two words"` a phrase. Where the store has changed since its index was made, as after
    an interrupted download, a temporary index is made.

    Raises: UsageError for a query without a word.
    """
    terms = _terms(query)
    if not terms:
        raise UsageError(f'nothing to search for in {query!r}: give a word, a beginning such as dog*, or a "phrase"')
    schema = "main"
    if store.meta("searchable") != store.generation:
        schema = "temp"
        n_features = int(store.meta("num_features", 0))
        _build(store.connection, schema, store, n_features, stored_preference(store))
    return _run(store, schema, " ".join(terms), limit) or (
        _run(store, schema, " OR ".join(terms), limit) if len(terms) > 1 else []
    )


def stored_preference(store: Store) -> Preference:
    """Return the preference that the labels were last published with."""
    types, models = (str(store.meta(name, "")) for name in ("explanation_types", "explanation_models"))
    return Preference(tuple(types.split("\n")), tuple(models.split("\n")))


def _build(connection: sqlite3.Connection, schema: str, store: Store, n_features: int, preference: Preference) -> None:
    for statement in _TABLES.format(schema=schema).split(";\n"):
        connection.execute(statement)
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS unsorted (idx INTEGER, text TEXT)")
    connection.execute("DELETE FROM temp.unsorted")
    connection.executemany("INSERT INTO temp.unsorted VALUES (?, ?)", _texts(store, n_features, preference))
    connection.execute(
        f"INSERT INTO {schema}.documents (idx, text) SELECT idx, text FROM temp.unsorted ORDER BY length(text), idx"
    )
    connection.execute(f"INSERT INTO {schema}.search (search) VALUES ('rebuild')")
    connection.execute("DROP TABLE temp.unsorted")


def _texts(store: Store, n_features: int, preference: Preference) -> Iterator[tuple[int, str]]:
    for record in store.records(0, n_features):
        if record.explanations:
            text = "\n".join(all_texts(record, preference))
            if text:
                yield record.index, text.replace("\0", " ")


def _run(store: Store, schema: str, expression: str, limit: int) -> list[Match]:
    # The inner query stops after the pool; the outer one ranks just that.
    rows = store.query(
        f"SELECT d.idx, -bm25(search), highlight(search, 0, ?, ?) FROM {schema}.search JOIN {schema}.documents d"
        " ON d.id = search.rowid WHERE search MATCH ? ORDER BY search.rowid LIMIT ?",
        (*MARK, expression, max(limit, POOL)),
    )
    matches = [Match(index, score, marked) for index, score, marked in rows]
    return sorted(matches, key=lambda match: (-match.score, match.index))[:limit]


def _terms(query: str) -> list[str]:
    """Turn what a person types into FTS5 terms, quoted, so that no character of it is taken for FTS5's syntax."""
    terms = []
    for phrase, word in re.findall(r'"([^"]*)"|([^\s"]+)', query):
        text = phrase or word
        if re.search(r"\w", text):
            star = "*" if word.endswith("*") else ""
            terms.append('"' + text.rstrip("*").replace("\0", "") + '"' + star)
    return terms
