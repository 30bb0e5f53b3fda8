"""Whether an array [a, b, d] is a stack of layers, as its values show it: its shape is that of a batch of texts.

A residual stream changes little from one layer to the next, so the slices of neighbouring layers are alike at each
token, and the less alike the further they are apart. Different texts are not alike. Texts of one template can be, but
are not ordered. Identical slices, such as padding, say nothing.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from encoder.arrays import F64
from encoder.readers.arrays import Array

MAX_LAYERS = 200  # a longer axis counts no model's layers
MIN_TOKENS, MIN_WIDTH = 4, 8  # fewer are alike by chance
ALIKE = 0.8  # the cosine of neighbouring slices, each without its mean over the tokens
ORDERED = 0.9  # of three slices, the outer ones are the least alike so often; by chance a third of the time
_SLICES, _TOKENS = 8, 32  # looked at


def looks_like_layers(array: Array) -> str:
    """Return the finding in words, or "" where the values look like different texts."""
    if array.width < MIN_WIDTH:
        return ""
    for axis, other in ((0, 1), (1, 0)):
        if 2 <= array.shape[axis] <= MAX_LAYERS and array.shape[other] >= MIN_TOKENS:
            alike, ordered = _likeness(_sample(array, axis))
            if alike >= ALIKE and ordered >= ORDERED:
                return f"neighbouring slices of axis {axis} are alike, cosine {alike:.2f}, as layers are"
    return ""


def _sample(array: Array, axis: int) -> F64:
    """Read neighbouring slices of the axis, each at neighbouring tokens -> [slices, tokens, d].

    The slices are from the middle, where layers are most alike, and the tokens from behind the first ones, which are
    attention sinks. A compressed array is read at its beginning, as the way to the middle is long.
    """
    n_slices, n_tokens = array.shape[axis], array.shape[1 - axis]
    slices = _window(n_slices, _SLICES, n_slices // 2 - _SLICES // 2)
    tokens = _window(n_tokens, _TOKENS, n_tokens // 4)
    if array.is_sequential:
        slices, tokens = _window(n_slices, _SLICES, 0), _window(n_tokens, _TOKENS, 0)
    outer, inner = (slices, tokens) if axis == 0 else (tokens, slices)
    read = np.stack([array.taken(i).read(inner.start, inner.stop).double().numpy() for i in outer])
    return read if axis == 0 else read.transpose(1, 0, 2)


def _window(n: int, length: int, first: int) -> range:
    first = max(0, min(first, n - length))
    return range(first, min(n, first + length))


def _likeness(slices: F64) -> tuple[float, float]:
    """Return the median cosine of neighbours, and how often the outer two of three slices are the least alike."""
    with np.errstate(all="ignore"):
        centred = slices - slices.mean(axis=1, keepdims=True)
        norms = np.sqrt((centred**2).sum(axis=2, keepdims=True))
        unit = np.where(norms > 0, centred / norms, 0.0)
        cosine = np.median(np.einsum("itd,jtd->ijt", unit, unit), axis=2)
        same = np.array([[np.allclose(a, b, rtol=1e-3, atol=0) for a in slices] for b in slices])
    n = len(slices)
    neighbours = [cosine[i, i + 1] for i in range(n - 1) if not same[i, i + 1]]
    if not np.isfinite(cosine).all() or 2 * len(neighbours) <= n - 1 or n < 3:
        return 0.0, 0.0
    triples = [cosine[i, k] <= min(cosine[i, j], cosine[j, k]) + 1e-6 for i, j, k in combinations(range(n), 3)]
    return float(np.median(neighbours)), float(np.mean(triples))
