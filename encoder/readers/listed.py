"""Token ids and masks that a file has as plain lists, as a tokenizer returns them, in the form of arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from encoder.arrays import AnyArray
from encoder.errors import ShardError
from encoder.readers.arrays import MAX_DIMS, Array, c_strides


@dataclass(frozen=True, slots=True)
class ListedArray(Array):
    """An array that was a list in the file, and is in memory."""

    values: AnyArray = field(kw_only=True)

    def read_into(self, rows: AnyArray, start: int) -> None:
        """Fill `rows` with the rows from `start` on."""
        steps = [stride * self.values.itemsize for stride in self.strides]
        view = np.lib.stride_tricks.as_strided(self.values, self.shape, steps, writeable=False)
        rows[:] = view.reshape(-1, self.width)[start : start + len(rows)]


def array_of(path: Path, name: str, values: object) -> ListedArray | None:
    """Return a list of numbers, or of such lists of one length, as an array; None of anything else.

    Raises: ShardError if a mask has lists of differing length, which cannot be laid beside rows.
    """
    if not isinstance(values, list) or not values:
        return None
    try:
        found = np.array(values)
    except (ValueError, OverflowError) as exc:  # lists of differing length, numbers beyond 64 bits
        if name.endswith("mask"):
            raise ShardError(f"{path}: save the mask {name[-40:]!r} as a tensor: its lists differ in length") from exc
        return None
    if found.dtype.kind not in "bif" or found.ndim > MAX_DIMS:
        return None
    whole = np.ascontiguousarray(found, np.float64 if found.dtype.kind == "f" else np.int64)
    return ListedArray(path, 0, whole.shape, c_strides(whole.shape), whole.dtype.name, values=whole)
