"""The result of a screen: the features of each row that may be active, with their values in float64."""

from __future__ import annotations

from dataclasses import dataclass

from encoder.arrays import F64, I32, I64


@dataclass(frozen=True, slots=True)
class Candidates:
    """Candidates by row: indptr int64 [T + 1], indices int32 [nnz] rising within a row, values float64 [nnz]."""

    indptr: I64
    indices: I32
    values: F64
