"""`/api/documents` and what is below it: the list, a document's tokens, the features that fire in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from dashboard.errors import RequestError
from dashboard.model.corpus import Corpus
from dashboard.model.data import Look
from dashboard.model.documents import Document
from dashboard.views.parameters import Parameters
from encoder.arrays import F32, AnyArray

LIST_PARAMETERS = ("offset", "limit", "query")
TOKENS_PARAMETERS = ("start", "stop", "colour")
FEATURES_PARAMETERS = ("offset", "limit")
MOST_DOCUMENTS, MOST_TOKENS, MOST_FEATURES = 1000, 1 << 15, 1 << 15
PREVIEW_ROWS, PREVIEW_CHARACTERS = 80, 160
SAMPLED_ROWS, N_SAMPLES, SAMPLE_ROWS = 1 << 15, 64, 256
"""The largest value of a colour is looked for in a document of up to SAMPLED_ROWS, in a longer one in samples."""
ONE_IN = 50


def documents(look: Look, asked: Parameters) -> dict[str, Any]:
    """List documents; `query` is part of the beginning of the text or of the shard's name, in any case."""
    offset, limit = asked.number("offset"), asked.number("limit", 100, MOST_DOCUMENTS)
    query = asked.text("query").casefold().strip()
    if look.corpus is None:
        return {"total": 0, "documents": []}
    corpus = look.corpus
    numbers: range | list[int] = range(len(corpus.documents))
    if query:
        texts = corpus.kept.get("previews", lambda: [_searched(look, document) for document in corpus.documents])
        numbers = [number for number, text in enumerate(texts) if query in text]
    page = [corpus.documents[number] for number in numbers[offset : offset + limit]]
    return {"total": len(numbers), "documents": [described(look, document) for document in page]}


def described(look: Look, document: Document) -> dict[str, Any]:
    corpus = look.features
    indptr = corpus.indptr(document.first_row, document.n_rows)
    return {
        "id": document.id,
        "shard": corpus.name(document.shard),
        "number": document.number,
        "rows": document.n_rows,
        "first_row": document.first_row,
        "preview": preview(look, document),
        "mean_l0": int(indptr[-1] - indptr[0]) / max(1, document.n_rows),
        "sections": sections(document),
    }


def _searched(look: Look, document: Document) -> str:
    return f"{preview(look, document)}\n{look.features.name(document.shard)}".casefold()


def preview(look: Look, document: Document) -> str:
    """Return the beginning of the document's text, "" if the shard says nothing of its tokens."""
    said = look.features.features.tokens(document.shard, document.start, document.start + _few(document))
    if said.texts is None and said.token_ids is None:
        return ""
    return "".join(look.vocabulary.texts(said, 0, _few(document)))[:PREVIEW_CHARACTERS]


def _few(document: Document) -> int:
    return min(document.n_rows, PREVIEW_ROWS)


def sections(document: Document) -> list[dict[str, Any]]:
    return [{"name": name, "start": start, "stop": stop} for name, start, stop in document.sections]


def tokens(look: Look, asked: Parameters, number: int) -> dict[str, Any]:
    """Return the tokens [start, stop) of a document, each with the value of the `colour`.

    `scale` is the value of the full colour, `floor` the one up to which there is none: of a feature its largest in the
    document, and 0; of l0 and top, where a BOS token would leave no colour to the others, the largest and the smallest
    but for one of every ONE_IN values. In a document of more than SAMPLED_ROWS they are those of samples.
    """
    corpus = look.features
    document = corpus.documents[number]
    start = min(asked.number("start"), document.n_rows)
    stop = min(asked.number("stop", start + 512), document.n_rows)
    if not start <= stop <= start + MOST_TOKENS:
        raise RequestError(f"start {start} and stop {stop}: expected up to {MOST_TOKENS:,} tokens in rising order")
    colour = asked.text("colour", "l0")
    feature = _feature_of(look, colour)
    said = corpus.features.tokens(document.shard, document.start + start, document.start + stop)
    first_row = document.first_row + start
    values = _values(corpus, first_row, stop - start, colour, feature)
    floor, scale = corpus.kept.get(("scale", number, colour), lambda: _scale(corpus, document, colour, feature))
    return {
        "document": number,
        "first_row": document.first_row,
        "total": document.n_rows,
        "start": start,
        "stop": stop,
        "tokens": look.vocabulary.texts(said, start, stop - start),
        "token_ids": said.token_ids,
        "masked": None if said.row_mask is None else ~said.row_mask,
        "sections": sections(document),
        "shard": corpus.name(document.shard),
        "values": values,
        "colour": colour,
        "floor": floor,
        "scale": scale,
    }


def _feature_of(look: Look, colour: str) -> int | None:
    """Return the feature of a colour, None for the colours that are of none. Raises: RequestError, NotFoundError."""
    if colour in ("l0", "top"):
        return None
    kind, _, number = colour.partition(":")
    if kind != "feature" or not number.isascii() or not number.isdigit() or len(number) > 15:
        raise RequestError(f"colour {colour[:40]!r}: expected l0, top or feature:NUMBER")
    return look.check_feature(int(number))


def _values(corpus: Corpus, first_row: int, n_rows: int, colour: str, feature: int | None) -> AnyArray:
    if colour == "l0":
        return np.diff(corpus.indptr(first_row, n_rows))
    rows = corpus.rows(first_row, first_row + n_rows)
    return largest_of_rows(rows) if feature is None else column_of_rows(rows, feature)


def largest_of_rows(rows: csr_matrix) -> F32:
    """Return the largest value of each row, 0 where none is stored: float32 [T]."""
    largest = np.zeros(rows.shape[0], np.float32)
    filled = np.flatnonzero(np.diff(rows.indptr))
    if len(filled):
        largest[filled] = np.maximum.reduceat(rows.data, rows.indptr[filled])
    return largest


def column_of_rows(rows: csr_matrix, feature: int) -> F32:
    """Return a feature's value in each row, 0 where it does not fire: float32 [T]."""
    values = np.zeros(rows.shape[0], np.float32)
    at = np.flatnonzero(rows.indices == feature)
    values[np.searchsorted(rows.indptr, at, side="right") - 1] = rows.data[at]
    return values


def _scale(corpus: Corpus, document: Document, colour: str, feature: int | None) -> tuple[float, float]:
    """Return the values between which the colour rises."""
    if feature is not None and corpus.index is not None:
        _, values = corpus.index.feature(feature, document.first_row, document.stop_row)
        return 0, float(values.max(initial=0))
    samples = [_values(corpus, first, n, colour, feature) for first, n in _samples(document)]
    values = np.concatenate(samples) if samples else np.zeros(0, np.float32)
    largest = float(values.max(initial=0))
    if feature is not None or not len(values):
        return 0, largest
    floor, scale = np.quantile(values, (1 / ONE_IN, 1 - 1 / ONE_IN), method="lower").tolist()
    return (floor, scale) if floor < scale else (0, largest)


def _samples(document: Document) -> Iterator[tuple[int, int]]:
    """Yield runs of rows, as first row and number: all of a short document, evenly spread ones of a long one."""
    if document.n_rows <= SAMPLED_ROWS:
        yield document.first_row, document.n_rows
        return
    for at in np.linspace(0, document.n_rows - SAMPLE_ROWS, N_SAMPLES).astype(int).tolist():
        yield document.first_row + at, SAMPLE_ROWS


def features(look: Look, asked: Parameters, number: int) -> dict[str, Any]:
    """List the features that fire in a document, by the sum of their values; of equal ones the lower index first."""
    offset, limit = asked.number("offset"), asked.number("limit", 500, MOST_FEATURES)
    corpus = look.features
    sums = corpus.sums(((number, corpus.documents[number].id + 1),))
    order = np.argsort(-sums.total, kind="stable")[offset : offset + limit]
    labels = look.pick(sums.columns[order].tolist())
    listed = [
        {
            "index": index,
            "label": labels[index].description if index in labels else None,
            "count": sums.count[at],
            "sum": sums.total[at],
            "max": sums.largest[at],
        }
        for at, index in zip(order.tolist(), sums.columns[order].tolist(), strict=True)
    ]
    return {"features": listed, "total": len(sums.columns)}
