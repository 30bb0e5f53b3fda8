"""Ranked full-text search over the labels: FTS5, in the store's own file.

    documents(id, text)    one row a described feature, all its texts; id = length of the text * 2^26 + feature
    search                 FTS5 over documents.text: porter stems, accents folded, beginnings of 1 to 3 letters indexed

FTS5's own ranking visits every row that holds a word, so over a million labels a common word takes a long time. Labels
are short and a word rarely stands twice in one: what ranks them is their length. As ids go by length FTS5 yields the
best first, and `POOL` of them are enough to rank, however many match.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache

from saefetch.errors import UsageError
from saefetch.explanations import Preference
from saefetch.names.identity import MAX_FEATURES
from saefetch.publish import all_texts
from saefetch.store.records import LIVE
from saefetch.store.store import Store

POOL = 500
ALIKE = 0.65
"""How much two spellings have to have in common, from 0 to 1."""
COMMON = 10_000
"""A word in this many labels is common; how many more does not matter."""
_BLANKS = "".join(filter(str.isspace, map(chr, range(0x3001))))
"""What `str.strip` takes away."""
# SQLite's length() ends at a NUL. A feature that is listed in `absent` may have its explanations left out.
_PLAIN = (
    "count(*) = 1 AND trim(min(text), ?1) <> '' AND instr(CAST(min(text) AS BLOB), x'00') = 0"
    " AND idx NOT IN (SELECT idx FROM absent)"
)
MARK = "\x02", "\x03"
"""Put around each matched word in `Match.marked`."""

_TABLES = """
DROP TABLE IF EXISTS {schema}.search;
DROP TABLE IF EXISTS {schema}.documents;
CREATE TABLE {schema}.documents (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE VIRTUAL TABLE {schema}.search USING fts5 (
    text, content = 'documents', content_rowid = 'id', columnsize = 0, prefix = '1 2 3',
    tokenize = 'porter unicode61 remove_diacritics 2');
"""


@dataclass(frozen=True, slots=True)
class Match:
    """One hit: the higher the score the better. `marked` is the text with `MARK` around the matched words."""

    index: int
    score: float
    marked: str


def build(store: Store, d_sae: int, preference: Preference) -> None:
    """Make the index over what the store holds now."""
    with store.transaction() as connection:
        _build(connection, "main", store, d_sae, preference)
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('searchable', ?)", (store.generation,))


def search(store: Store, query: str, limit: int, *, is_typed: bool = False) -> list[Match]:
    """Find the labels that hold all words of the query. Where there is no such label, leave out the commonest words.

    `word*` matches a beginning, `"two words"` a phrase, and `-word` leaves out labels that hold the word. Where the
    store has changed since its index was made, as after an interrupted download, a temporary index is made.

    With `is_typed` somebody is still typing: the last word may be a beginning, and labels that hold the word itself
    come before those that hold a longer one.

    Raises: UsageError for a query without a word.
    """
    terms, without = terms_of(query)
    schema = "main"
    if store.meta("searchable") != store.generation:
        schema = "temp"
        d_sae = int(store.meta("num_features", 0))
        _build(store.connection, schema, store, d_sae, stored_preference(store))
    exact: dict[int, Match] = {}
    if is_typed and _ends_in_a_word(query) and terms[-1].endswith('"'):
        exact = {match.index: match for match in _run(store, schema, terms, without, limit)}
        without, terms = [*without, terms[-1]], [*terms[:-1], f"{terms[-1]}*"]
    found = {}
    if len(exact) < limit:
        found = {match.index: match for match in _run(store, schema, terms, without, limit)}
    if not found and not exact:
        for fewer in _relaxed(store, schema, terms):
            for match in _run(store, schema, fewer, without, limit):
                found.setdefault(match.index, match)
            if len(found) >= limit:
                break
    first, then = (sorted(of.values(), key=lambda match: (-match.score, match.index)) for of in (exact, found))
    return [*first, *then][:limit]


def suggest(store: Store, query: str) -> str | None:
    """Spell words of the query that no label holds like words that some label holds; None where there is none to mend.

    None, too, while the index is not up to date.
    """
    if store.meta("searchable") != store.generation:
        return None
    list(store.query("CREATE VIRTUAL TABLE IF NOT EXISTS temp.words USING fts5vocab(main, search, row)"))
    mended = query
    for word in re.findall(r"[^\W\d_]{4,40}", query):
        is_there = store.query("SELECT 1 FROM search WHERE search MATCH ? LIMIT 1", (f'"{word}"*',))
        if next(is_there, None) is None and (closest := _closest(store, word.casefold())):
            mended = mended.replace(word, closest)
    return mended if mended != query else None


def _closest(store: Store, word: str) -> str | None:
    """Return the word of a label whose stem is most like `word`, which it shares the first letter with."""
    like = "SELECT term FROM temp.words WHERE term >= ? AND term < ? AND length(term) BETWEEN ? AND ?"
    bounds = word[0], chr(ord(word[0]) + 1), len(word) - 4, len(word) + 2
    for stem in get_close_matches(word, [term for (term,) in store.query(like, bounds)], 1, ALIKE):
        for match in _run(store, "main", [f'"{stem}"*'], (), 1):
            return match.marked.partition(MARK[0])[2].partition(MARK[1])[0].casefold()
    return None


def stored_preference(store: Store) -> Preference:
    """Return the preference of the last run."""
    return preference_of(*(str(store.meta(name, "")) for name in ("explanation_types", "explanation_models")))


@cache
def preference_of(types: str, models: str) -> Preference:
    """Return the preference that the store holds as two texts, with a name a line."""
    return Preference(tuple(filter(None, types.split("\n"))), tuple(filter(None, models.split("\n"))))


def _build(connection: sqlite3.Connection, schema: str, store: Store, d_sae: int, preference: Preference) -> None:
    for statement in _TABLES.format(schema=schema).split(";\n"):
        connection.execute(statement)
    _add_plain(connection, schema, d_sae)
    rest = _not_plain(store, d_sae)
    connection.executemany(
        f"INSERT INTO {schema}.documents VALUES (?, ?)",
        ((len(text) * MAX_FEATURES + index, text) for index, text in _texts(store, rest, preference)),
    )
    connection.execute(f"INSERT INTO {schema}.search (search) VALUES ('rebuild')")


def _add_plain(connection: sqlite3.Connection, schema: str, d_sae: int) -> None:
    """Add the features that have exactly one explanation, of ordinary text, without reading them one by one.

    That is most of them. SQLite does it by itself, so that other threads can do something else meanwhile, and in the
    table's order, so that it does not matter how many there are.
    """
    connection.execute(
        f"INSERT INTO {schema}.documents SELECT length(min(text)) * {MAX_FEATURES} + idx, min(text)"
        f" FROM explanations WHERE idx < ?2 AND {LIVE} GROUP BY idx HAVING {_PLAIN} ORDER BY 1",
        (_BLANKS, d_sae),
    )


def _not_plain(store: Store, d_sae: int) -> list[int]:
    features = f"SELECT idx FROM explanations WHERE idx < ?2 AND {LIVE} GROUP BY idx HAVING NOT ({_PLAIN})"
    return [index for (index,) in store.query(features, (_BLANKS, d_sae))]


def _texts(store: Store, indices: Sequence[int], preference: Preference) -> Iterator[tuple[int, str]]:
    for record in store.some_records(indices):
        text = "\n".join(all_texts(record, preference))
        if text:
            yield record.index, text.replace("\0", " ")


def _run(store: Store, schema: str, terms: Sequence[str], without: Sequence[str], limit: int) -> list[Match]:
    """Return the labels that hold all of `terms` and none of `without`: of the shortest `POOL`, the best."""
    asked = " ".join(terms) if not without else f"({' AND '.join(terms)}) NOT ({' OR '.join(without)})"
    rows = store.query(
        f"SELECT rowid, highlight(search, 0, ?, ?) FROM {schema}.search WHERE search MATCH ? ORDER BY rowid LIMIT ?",
        (*MARK, asked, max(limit, POOL)),
    )
    matches = [Match(row_id % MAX_FEATURES, len(terms) - 1 + _share(marked), marked) for row_id, marked in rows]
    return sorted(matches, key=lambda match: (-match.score, match.index))[:limit]


def _share(marked: str) -> float:
    """Return which share of a label its matched words are, from 0 to 1. Matched words side by side count more.

    BM25's curve, with k1 = 1.2, b = 0.75, ten words for a usual label, and no word worth more than another.
    """
    begin, end = MARK
    weight = marked.count(begin) + marked.count(f"{end} {begin}")
    return weight / (weight + 1.2 * (0.25 + 0.75 * len(marked.split()) / 10))


def _relaxed(store: Store, schema: str, terms: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield ever fewer of the terms, leaving out the commonest first; then each by itself."""
    count = f"SELECT count(*) FROM (SELECT 1 FROM {schema}.search WHERE search MATCH ? LIMIT {COMMON})"
    counts = {term: int(next(store.query(count, (term,)))[0]) for term in terms}
    rarest = sorted((term for term in counts if counts[term]), key=counts.__getitem__)
    yield from (rarest[:n] for n in range(min(len(rarest), len(terms) - 1), 0, -1))
    yield from ([term] for term in rarest[1:])


def _ends_in_a_word(query: str) -> bool:
    return re.search(r"\w\Z", query) is not None and query.count('"') % 2 == 0


def terms_of(query: str) -> tuple[list[str], list[str]]:
    """Turn what a person types into FTS5 terms, quoted, so that no character of it is taken for FTS5's syntax.

    Returns the terms that are wanted, and those that are not. Where none is wanted, all are: somebody looks for a sign.

    Raises: UsageError for a query without a word.
    """
    terms: dict[str, None] = {}
    without: dict[str, None] = {}
    query = query.encode("utf-8", "replace").decode()  # an argument that is no UTF-8 comes with lone surrogates
    query = re.sub("[“”„]", '"', query)
    for phrase, word in re.findall(r'"([^"]*)"|([^\s"]+)', query):
        text = phrase or word
        if re.search(r"[^\W_]", text):
            star = "*" if word.endswith("*") else ""
            kind = without if re.match(r"-[^\W_]", word) else terms
            kind['"' + text.rstrip("*").replace("\0", "") + '"' + star] = None
    if not terms and not without:
        raise UsageError(f'nothing to search for in {query!r}: give a word, a beginning such as dog*, or a "phrase"')
    return (list(terms), list(without)) if terms else (list(without), [])
