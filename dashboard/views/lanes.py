"""`/api/documents/<number>/lanes`: where in a document some features fire, in equal parts of it."""

from __future__ import annotations

import re

import numpy as np

from dashboard.errors import RequestError
from dashboard.model.corpus import Corpus
from dashboard.model.documents import Document
from dashboard.model.look import Look
from dashboard.views.colours import Colour, values_of
from dashboard.views.parameters import Parameters
from dashboard.views.shapes.documents import Lane, Lanes
from encoder.arrays import F32, I64

PARAMETERS = ("features", "bins")
MOST_BINS, MOST_FEATURES, BLOCK_ROWS = 2000, 5, 1 << 15
_FEATURES = re.compile(r"[0-9]{1,15}(,[0-9]{1,15})*")


def lanes(look: Look, parameters: Parameters, number: int) -> Lanes:
    """Return the strongest value of each of `features` in each of `bins` parts, 0 where it does not fire."""
    text, bins = parameters.text("features"), max(1, parameters.number("bins", 400, MOST_BINS))
    indices = [int(index) for index in text.split(",")] if _FEATURES.fullmatch(text) else []
    if not 1 <= len(indices) <= MOST_FEATURES:
        raise RequestError(f"features {text[:40]!r}: expected up to {MOST_FEATURES} numbers of features, such as 3,42")
    document = look.features.documents[number]
    return {"bins": bins, "lanes": [_lane(look, document, look.check_feature(index), bins) for index in indices]}


def _lane(look: Look, document: Document, index: int, bins: int) -> Lane:
    positions, values = fired(look.features, document, index)
    magnitudes = np.abs(values)
    order = np.lexsort((positions, -magnitudes))
    bin_of = positions[order] * bins // max(1, document.n_rows)
    filled, first = np.unique(bin_of, return_index=True)
    strongest, at = np.zeros(bins, np.float32), np.zeros(bins, np.int64)
    strongest[filled], at[filled] = values[order][first], positions[order][first]
    return {"feature": index, "max": magnitudes.max(initial=0), "values": strongest, "at": at}


def fired(corpus: Corpus, document: Document, index: int) -> tuple[I64, F32]:
    """Return the tokens of a document that count on which a feature fires, and its values there."""
    if corpus.index is not None and corpus.index_state == "ready":
        rows, values = corpus.index.feature(index, document.first_row, document.stop_row)
        return rows.astype(np.int64) - document.first_row, values
    found = [(np.zeros(0, np.int64), np.zeros(0, np.float32))]
    for start in range(0, document.n_rows, BLOCK_ROWS):
        n = min(BLOCK_ROWS, document.n_rows - start)
        values = values_of(corpus, document.first_row + start, n, Colour("", index))
        at = np.flatnonzero(values * corpus.counting(document.first_row + start, n))
        found.append((at + start, values[at]))
    return np.concatenate([one for one, _ in found]), np.concatenate([one for _, one in found])
