"""`/api/words` and `/api/words/features`: every occurrence of a word, and what fires on it."""

from __future__ import annotations

from dashboard.model.look import Look
from dashboard.model.occurrences import lengths_of, lifted, rows_of
from dashboard.views.parameters import Parameters
from dashboard.views.shapes.words import LiftedFeature, Occurrence, WordFeatures, WordOccurrences

PARAMETERS = ("word", "offset", "limit", "around")
FEATURES_PARAMETERS = ("word", "offset", "limit")
MOST_OCCURRENCES, MOST_AROUND, MOST_FEATURES = 1000, 60, 1000


def words(look: Look, parameters: Parameters) -> WordOccurrences:
    """List the occurrences of `word`, a token or a word in any case, each with the tokens around it."""
    offset, limit = parameters.number("offset"), parameters.number("limit", 100, MOST_OCCURRENCES)
    word, around = parameters.text("word"), parameters.number("around", 16, MOST_AROUND)
    rows = rows_of(look, word)
    page = rows[offset : offset + limit]
    lengths = lengths_of(look, page, word).tolist()
    listed = [_occurrence(look, row, n, around) for row, n in zip(page.tolist(), lengths, strict=True)]
    return {"total": len(rows), "occurrences": listed}


def _occurrence(look: Look, row: int, length: int, around: int) -> Occurrence:
    document = look.features.documents.of_row(row)
    position = row - document.first_row
    start, stop = max(0, position - around), min(document.n_rows, position + length + around)
    return {
        "row": row,
        "document": document.id,
        "address": document.address,
        "position": position,
        "tokens": look.texts(document, start, stop),
        "at": position - start,
        "length": length,
    }


def features(look: Look, parameters: Parameters) -> WordFeatures:
    """List the features that fire on `word`, the largest lift first."""
    offset, limit = parameters.number("offset"), parameters.number("limit", 100, MOST_FEATURES)
    word = parameters.text("word")
    rows = rows_of(look, word)
    found = look.features.kept.get(("lifted", word), lambda: lifted(look, rows, word))
    page = slice(offset, offset + limit)
    indices = found.columns[page].tolist()
    listed: list[LiftedFeature] = [
        {"index": index, "label": label, "hits": hits, "lift": lift}
        for index, label, hits, lift in zip(
            indices, look.descriptions(indices), found.hits[page].tolist(), found.lift[page].tolist(), strict=True
        )
    ]
    return {"total": len(found.columns), "looked_at": found.n, "occurrences": len(rows), "features": listed}
