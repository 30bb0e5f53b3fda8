"""SAEBench: activations_<i>_of_<n>.pt = {"activations": [S, L, D], "tokens": [S, L]}; i counts from 1."""

from __future__ import annotations

from encoder.readers.assemble import shard_of
from encoder.readers.companions import mask_beside
from encoder.readers.source import Source
from encoder.shard import Shard

NAME = "SAEBench"


def claims(source: Source) -> bool:
    return source.has_arrays("activations", "tokens")


def open_shard(source: Source) -> Shard:
    source.allow_select()
    rows, ids = (source.contents[name] for name in ("activations", "tokens"))
    mask, notes = mask_beside(source.arrays, "activations", ids.shape)
    return shard_of(source, rows, "'activations'", ids=ids, mask=mask, notes=notes, is_plain=True)
