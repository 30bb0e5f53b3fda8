"""What `dashboard_data.write_features` wrote: its shards, documents, rows that count, as scipy sees them."""

from __future__ import annotations

from typing import Any

import numpy as np
from dashboard_data import EXCLUDED_ROWS

Array = np.ndarray[Any, Any]

SHARDS = ("capture", "corpus__part-0", "empty", "ids", "nothing")
LENGTHS = [20, 30, 1, 80, 40, 25, 12]
STARTS = np.cumsum([0, *LENGTHS])
"""Of the documents, and where the last one ends."""
COUNTED = ~np.isin(np.arange(STARTS[-1]), EXCLUDED_ROWS)


def of(truth: Array, document: int) -> Array:
    part: Array = truth[STARTS[document] : STARTS[document + 1]]
    return part


def counted_of(truth: Array, document: int) -> Array:
    """Return the rows of a document that count."""
    part: Array = of(truth, document)[of(COUNTED, document)]
    return part


def near(given: Any, expected: Any) -> bool:
    return bool(np.allclose(np.array(given, float), np.array(expected, float), rtol=1e-6, atol=1e-9))


def nearly_extremes(values: Array) -> tuple[float, float]:
    """Return the smallest and the largest but for one of every 50; where they are the same, 0 and the largest."""
    low, high = (float(np.sort(values)[int(share * (len(values) - 1))]) for share in (0.02, 0.98))
    return (low, high) if low < high else (0, float(values.max()))
