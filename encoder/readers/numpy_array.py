"""numpy .npy: one array [n, d] or [b, s, d], in C or Fortran order.

bfloat16 is not a numpy dtype: `V2` is what ml_dtypes writes for it; int16 or uint16 bits need --select dtype=bfloat16.
"""

from __future__ import annotations

from encoder.readers.numpy_header import MAGIC, array_at
from encoder.readers.sidecars import one_array
from encoder.readers.source import Source
from encoder.shard import Shard

NAME = "numpy .npy"


def claims(source: Source) -> bool:
    return source.head.startswith(MAGIC)


def open_shard(source: Source) -> Shard:
    source.allow_select("axes")
    return one_array(source, array_at(source.path, source.size), "the array")
