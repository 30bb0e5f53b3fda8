"""A document, a row and a feature as pages. What a colour means, and what is left out, is said on the page.

Heat of a token: the largest share among its features, where a share is a value over the largest that Neuronpedia saw;
the page's smallest has none and its largest all of it. Where one feature is asked for, it is that feature's value over
its largest on the page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from encoder.arrays import F32, I64
from encoder.file.folder import Features
from encoder.labelled.active import Active, active_of
from encoder.labelled.contexts import document_rows, place, strongest_rows, texts_of
from encoder.labelled.markup import Token, context, details, feature_row, frame, plain, token, visible
from encoder.labelled.page import Page
from encoder.labelled.same import is_one_scale
from saefetch.labels import Labels

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

SHOWN_TOKENS = 1000
"""Of a document at a time: with the features of each, so many are about two megabytes."""
SHOWN_FEATURES = 8
"""Of a token, beside the text."""
SHOWN_CONTEXTS = 20
AROUND = 16
"""Tokens before and after a row that are shown with it."""
_HINT = '<div class="sf-hint">Point at a token to see its features here. Click it to keep them.</div>'


def of_document(
    features: Features, labels: Labels, document: int | None, *, row: int | None, feature: int | None
) -> Page:
    """Show a document's tokens, or the part of it that has `row`. Raises: IndexError."""
    starts = document_rows(features)
    marked = None if row is None else place(row, features.shape[0], "row")
    if document is None:
        document = 0 if marked is None else _document_of(starts, marked)
    number = place(document, len(starts) - 1, "document")
    first, end = int(starts[number]), int(starts[number + 1])
    if marked is not None and not first <= marked < end:
        raise IndexError(f"row {marked:,} is not in document {number}, which has the rows {first:,} to {end - 1:,}")
    start = first if marked is None else marked - (marked - first) % SHOWN_TOKENS
    stop = min(start + SHOWN_TOKENS, end)
    tokens, meaning = _tokens(features, labels, start, stop, feature)
    actives = active_of(features[start:stop], labels, is_one_scale=is_one_scale(features))
    flow = "".join(
        token(one, details(one, _where(one.row, first), found[:SHOWN_FEATURES], len(found)), mark=one.row == marked)
        for one, found in zip(tokens, actives, strict=True)
    )
    shard, _ = features.locate(first)
    facts = [
        f"{end - first:,} tokens · {len(starts) - 1:,} documents in all, counted from 0 · {_sae(labels)}",
        _left_out(number, first, start, stop, end),
        meaning,
    ]
    name = features.paths[shard].stem
    body = frame(f"Document {number} · {visible(name)}", facts, f'{_HINT}<div class="sf-text">{flow}</div>', wide=True)
    return Page(f"Document {number} · {plain(name)}", body)


OTHER_SCALE = (
    "Neuronpedia's values are of the SAE with the norms of its decoder folded in; these are not, and not compared"
    " with them: --fold-decoder-norm writes values in Neuronpedia's scale"
)


def of_row(features: Features, labels: Labels, row: int) -> Page:
    """Show all features of a row, with the text around it. Raises: IndexError."""
    at = place(row, features.shape[0], "row")
    starts = document_rows(features)
    number = _document_of(starts, at)
    around, mine = _around(features, starts, at)
    (active,) = active_of(features[at], labels, is_one_scale=is_one_scale(features))
    facts = [
        f"token {at - int(starts[number]):,} of document {number} · {_sae(labels)}",
        f"this row does not count: {visible(mine.note)}" if mine.note else "",
        f"{len(active):,} features are active, the strongest first. A bar: its value over the largest on Neuronpedia.",
    ]
    flow = "".join(token(one, mark=one.row == at) for one in around)
    listed = "".join(map(feature_row, active))
    body = f'<div class="sf-text">{flow}</div><div class="sf-list">{listed}</div>'
    return Page(f"Row {at}: {plain(mine.text)}", frame(f"Row {at:,}: <bdi>{visible(mine.text)}</bdi>", facts, body))


def of_feature(features: Features, labels: Labels, feature: int) -> Page:
    """Show the rows on which a feature is strongest, each with the text around it. Raises: IndexError."""
    index = place(feature, len(labels), "feature")
    label, starts = labels[index], document_rows(features)
    found = strongest_rows(features, index, 4 * SHOWN_CONTEXTS)
    largest = float(np.abs(found.values).max(initial=0))
    n_counted = features.shape[0] - sum(features.excluded().values())
    contexts: list[str] = []
    seen: set[int] = set()
    for row, value in zip(found.rows.tolist(), found.values.tolist(), strict=True):
        if row in seen or len(contexts) == SHOWN_CONTEXTS:
            continue  # it is in a text that is shown already, on its own heat
        around, _ = _around(features, starts, row)
        seen.update(one.row for one in around)
        values = _values_of(features[around[0].row : around[-1].row + 1], index)
        flow = "".join(
            token(one if one.note else one.heated(_heat(strength, largest)), mark=one.row == row)
            for one, strength in zip(around, values.tolist(), strict=True)
        )
        contexts.append(context(value, flow, f"row {row:,} · document {_document_of(starts, row):,}"))
    text = "no label" if label.description is None else label.description
    facts = [
        _of_neuronpedia(label.max_activation, label.frac_nonzero, _sae(labels)),
        "" if is_one_scale(features) else OTHER_SCALE,
        f"here it fires on {found.n_rows:,} of {n_counted:,} rows that count; {visible(found.source)}",
        "Colour: its value over its largest here. A row near a stronger one is in that row's text." if contexts else "",
    ]
    facts[1:1] = [f"also: {visible(other.text)}" for other in label.explanations[1:5]]
    body = f'<div class="sf-contexts">{"".join(contexts)}</div>'
    return Page(f"Feature {index}: {plain(text)}", frame(f"Feature {index}: <bdi>{visible(text)}</bdi>", facts, body))


def _tokens(features: Features, labels: Labels, start: int, stop: int, feature: int | None) -> tuple[list[Token], str]:
    """Return the tokens of rows on their heat, and what the heat means."""
    matrix = features[start:stop]
    tokens = texts_of(features, start, stop)
    if feature is None:
        actives = active_of(matrix, labels, is_one_scale=is_one_scale(features))
        shares = np.array([_largest_share(active) for active in actives])
        known = shares[[not one.note for one in tokens]]
        least, most = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
        heats = [_heat(share - least, most - least) for share in shares.tolist()]
        meaning = (
            "Colour: the token's largest share, a feature's value over its largest on Neuronpedia;"
            f" here from {least:.0%} to {most:.0%}."
        )
    else:
        index = place(feature, len(labels), "feature")
        values = _values_of(matrix, index)
        largest = float(np.abs(values).max(initial=0))
        heats = [_heat(value, largest) for value in values.tolist()]
        text = labels[index].description
        called = f"feature {index}" + (f" ({visible(text)})" if text else "")
        meaning = f"Colour: {called}, its value over its largest on this page, {largest:.4g}."
    return [one if one.note else one.heated(heat) for one, heat in zip(tokens, heats, strict=True)], meaning


def _largest_share(active: list[Active]) -> float:
    """Return the largest share of a token's features; what is beyond the largest on Neuronpedia counts as that."""
    return min(1.0, max((abs(one.share) for one in active if one.share is not None), default=0.0))


def _heat(value: float, largest: float) -> float:
    return abs(value) / largest if largest else 0.0


def _values_of(matrix: csr_matrix, feature: int) -> F32:
    """Return a feature's value on each row of a CSR, 0 where it does not fire."""
    values: F32 = matrix[:, [feature]].toarray().ravel()
    return values


def _around(features: Features, starts: I64, row: int) -> tuple[list[Token], Token]:
    """Return the tokens around a row, within its document, and its own."""
    number = _document_of(starts, row)
    first, stop = max(int(starts[number]), row - AROUND), min(int(starts[number + 1]), row + AROUND + 1)
    tokens = texts_of(features, first, stop)
    return tokens, tokens[row - first]


def _document_of(starts: I64, row: int) -> int:
    return int(np.searchsorted(starts, row, side="right")) - 1


def _where(row: int, first: int) -> str:
    return f"row {row:,}, token {row - first:,}"


def _left_out(number: int, first: int, start: int, stop: int, end: int) -> str:
    """Say which tokens of a long document are shown, and how to see the others."""
    if stop - start == end - first:
        return ""
    others = [row for row in (start - SHOWN_TOKENS, stop) if first <= row < end]
    ways = " or ".join(f"<code>show(document={number}, row={row})</code>" for row in others)
    return f"The tokens {start - first:,} to {stop - first - 1:,} are shown. Others: {ways}"


def _sae(labels: Labels) -> str:
    return visible(f"{labels.release} {labels.sae_id} · {labels.neuronpedia_id}")


def _of_neuronpedia(largest: float | None, density: float | None, sae: str) -> str:
    known = [] if largest is None else [f"largest {largest:.4g}"]
    known += [] if density is None else [f"on {density:.3%} of its tokens"]
    return f"{sae} · on Neuronpedia: {', '.join(known)}" if known else sae
