"""`/api/documents` and the addresses below it: the list, a document's tokens, the features that fire in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dashboard.errors import RequestError
from dashboard.model.corpus import Corpus
from dashboard.model.documents import Document
from dashboard.model.groups import groups_of
from dashboard.model.look import Look
from dashboard.model.occurrences import documents_with
from dashboard.model.selection import parse_selection
from dashboard.views.colours import read_colour, scale_of, values_of
from dashboard.views.excluded import reasons_of
from dashboard.views.parameters import Parameters
from dashboard.views.shapes.documents import (
    DocumentFeature,
    DocumentFeatures,
    DocumentList,
    DocumentSummary,
    DocumentTokens,
    Section,
)

LIST_PARAMETERS = ("offset", "limit", "query", "group")
TOKENS_PARAMETERS = ("start", "stop", "colour")
FEATURES_PARAMETERS = ("offset", "limit")
MOST_DOCUMENTS, MOST_TOKENS, MOST_FEATURES = 1000, 1 << 15, 1 << 15


def documents(look: Look, parameters: Parameters) -> DocumentList:
    """List documents that hold all words of `query`, or have it in their beginning or in the name of their shard."""
    offset, limit = parameters.number("offset"), parameters.number("limit", 100, MOST_DOCUMENTS)
    query = parameters.text("query").casefold().strip()
    if look.corpus is None:
        return {"total": 0, "documents": []}
    corpus = look.corpus
    numbers: Sequence[int] = corpus.documents.numbers
    if query:
        texts = corpus.kept.get("beginnings", lambda: _beginnings(look, corpus))
        found = {number for number, text in zip(numbers, texts, strict=True) if query in text}
        if corpus.index is not None and corpus.index.has_words:
            found |= set(corpus.kept.get(("words", query), lambda: documents_with(look, query)).tolist())
        numbers = sorted(found)
    if group := parameters.text("group"):
        ranges = parse_selection(group, corpus.documents, "group", groups_of(look).by_name)
        numbers = [number for number in numbers if any(start <= number < stop for start, stop in ranges)]
    page = [corpus.documents[number] for number in numbers[offset : offset + limit]]
    return {"total": len(numbers), "documents": [_summary(look, document) for document in page]}


def _beginnings(look: Look, corpus: Corpus) -> list[str]:
    """Return the text of each document in which a query is looked for."""
    return [f"{look.preview(document)}\n{corpus.name(document.shard)}".casefold() for document in corpus.documents]


def _summary(look: Look, document: Document) -> DocumentSummary:
    corpus = look.features
    indptr, excluded = corpus.indptr(document.first_row, document.n_rows), corpus.excluded_in(document)
    return {
        "id": document.id,
        "address": document.address,
        "shard": corpus.name(document.shard),
        "number": document.number,
        "rows": document.n_rows,
        "excluded": excluded.n_rows,
        "first_row": document.first_row,
        "preview": look.preview(document),
        "mean_l0": (int(indptr[-1] - indptr[0]) - excluded.nnz) / max(1, document.n_rows - excluded.n_rows),
        "sections": _sections(document),
    }


def _sections(document: Document) -> list[Section]:
    return [{"name": name, "start": start, "stop": stop} for name, start, stop in document.sections]


def tokens(look: Look, parameters: Parameters, number: int) -> DocumentTokens:
    """Return the tokens from `start` to `stop` of a document, each with its value for the colour."""
    corpus = look.features
    document = corpus.documents[number]
    start = min(parameters.number("start"), document.n_rows)
    stop = min(parameters.number("stop", start + 512), document.n_rows)
    if not start <= stop <= start + MOST_TOKENS:
        raise RequestError(f"start {start} and stop {stop}: expected up to {MOST_TOKENS:,} tokens in rising order")
    colour = read_colour(look, parameters.text("colour", "l0"))
    of_rows = corpus.features.tokens(document.shard, document.start + start, document.start + stop)
    floor, scale = corpus.kept.get(("scale", number, colour), lambda: scale_of(corpus, document, colour))
    reasons = corpus.reasons(document.first_row + start, stop - start)
    previous, following = corpus.documents.beside(number)
    return {
        "document": number,
        "address": document.address,
        "shard": corpus.name(document.shard),
        "first_row": document.first_row,
        "total": document.n_rows,
        "excluded": corpus.excluded_in(document).n_rows,
        "start": start,
        "stop": stop,
        "tokens": look.texts(document, start, stop),
        "token_ids": of_rows.token_ids,
        "masked": None if of_rows.row_mask is None else ~of_rows.row_mask,
        "reasons": reasons_of(reasons) if reasons.any() else None,
        "sections": _sections(document),
        "previous": None if previous is None else corpus.documents[previous].address,
        "next": None if following is None else corpus.documents[following].address,
        "colour": colour.name,
        "values": values_of(corpus, document.first_row + start, stop - start, colour),
        "floor": floor,
        "scale": scale,
    }


def features(look: Look, parameters: Parameters, number: int) -> DocumentFeatures:
    """List the features that fire in a document, the largest sum of magnitudes first; of equal ones the lower index."""
    offset, limit = parameters.number("offset"), parameters.number("limit", 500, MOST_FEATURES)
    corpus = look.features
    sums = corpus.sums(((number, corpus.documents[number].id + 1),))
    order = np.argsort(-sums.mass, kind="stable")[offset : offset + limit]
    indices = sums.columns[order].tolist()
    listed: list[DocumentFeature] = [
        {"index": index, "label": label, "count": sums.count[at], "sum": sums.mass[at], "max": sums.strongest[at]}
        for at, index, label in zip(order, indices, look.descriptions(indices), strict=True)
    ]
    return {"total": len(sums.columns), "features": listed}
