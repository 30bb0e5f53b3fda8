"""What the answers' types have in common: lists of numbers, sections, rows that do not count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypedDict

if TYPE_CHECKING:
    import numpy as np

    from encoder.arrays import AnyArray

    Value = float | np.float32
    Ints = Sequence[int] | AnyArray
    Floats = Sequence[float] | AnyArray
    Bools = Sequence[bool] | AnyArray
else:
    Value, Ints, Floats, Bools = float, list[int], list[float], list[bool]

Source = Literal["here", "neuronpedia"]
"""Where figures of features come from: from these documents, or from Neuronpedia."""
Reason = Literal["mask", "token", "first", "norm"]
"""Why a row does not count."""


class Excluded(TypedDict):
    """How many rows do not count, by reason: the producer's mask, their token's id, their place in the document, their
    norm. Such rows are shown, and no figure is made of them: not L0, not a density, not what is strongest.
    """

    mask: int
    token: int
    first: int
    norm: int


class Histogram(TypedDict):
    """`counts` [n] lie between `edges` [n + 1]."""

    edges: Floats
    counts: Ints
