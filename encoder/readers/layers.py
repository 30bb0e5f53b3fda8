"""Whether an array [a, b, d] is a stack of layers, as its values show it: its shape is that of a batch of texts.

A residual stream changes little from one layer to the next, so the slices of neighbouring layers are alike at each
token, and the less alike the further they are apart. Different texts are not alike. Texts of one template can be, but
are not ordered. Identical slices, such as padding, say nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from encoder.arrays import F64, I64
from encoder.errors import AmbiguousError
from encoder.readers.arrays import Array
from encoder.readers.source import Source

if TYPE_CHECKING:
    import torch

MAX_LAYERS = 200  # a longer axis counts no model's layers
MIN_TOKENS, MIN_WIDTH = 4, 8  # fewer are alike by chance
ALIKE = 0.8  # the cosine of neighbouring slices, each without its mean over the tokens
ORDERED = 0.9  # of three slices, the outer ones are the least alike so often; by chance a third of the time
_SLICES, _TOKENS = 8, 32  # looked at


@dataclass(frozen=True, slots=True)
class Finding:
    """The axis that looks like layers, and why in words."""

    axis: int
    why: str


def layer_axis(array: Array) -> Finding | None:
    """Say which axis of [a, b, d] looks like layers; None where the values look like different texts."""
    return _first_alike(array.shape, lambda axis: _sample(array, axis))


def check_are_documents(source: Source, what: str, read: Callable[[int, int], torch.Tensor], lengths: I64) -> None:
    """Refuse documents [token, d] of one length that look like the layers of a token each, unless --axes says so.

    Raises: AmbiguousError.
    """
    length = int(lengths[0]) if len(lengths) else 0
    if "axes" in source.select or len(lengths) < 2 or length < 2 or (lengths != length).any():
        return
    starts = range(0, min(len(lengths), _TOKENS) * length, length)
    read_of_each = [read(start, start + min(length, _TOKENS)).double().numpy() for start in starts]
    block = np.stack(read_of_each)
    shape = (len(lengths), length, block.shape[2])
    found = _first_alike(shape, lambda axis: (block if axis == 0 else block.transpose(1, 0, 2))[:_SLICES])
    if found is not None:
        each = "token" if found.axis else "layer"
        raise AmbiguousError(
            f"{source.path}: say what the entries of {what} are, {length:,} rows in each ({found.why}): --axes"
            f" document,token,d if each is a text. If each is a {each}, save the rows of the SAE's layer alone"
        )


def _first_alike(shape: Sequence[int], sample: Callable[[int], F64]) -> Finding | None:
    if shape[-1] < MIN_WIDTH:
        return None
    for axis, other in ((0, 1), (1, 0)):
        if 2 <= shape[axis] <= MAX_LAYERS and shape[other] >= MIN_TOKENS:
            alike, ordered = _likeness(sample(axis))
            if alike >= ALIKE and ordered >= ORDERED:
                why = f"neighbouring slices of axis {axis} are alike, cosine {alike:.2f}, as layers are"
                return Finding(axis, why)
    return None


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
