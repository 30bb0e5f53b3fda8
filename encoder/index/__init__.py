"""The features of a folder by feature: where each one fires, how strongly, and where most strongly.

format.py      features.csc: its layout, its headers checked, whether it is of the shards that are there
reader.py      FeatureIndex: what a program asks
documents.py   where the documents of a shard begin
build.py       `sae-encode index`: shards -> runs -> features.csc, in bounded memory
  source.py    the shards' rows, in blocks
  runs.py      rows by feature, as many as fit into memory, on disk; and all of them merged
  loops.py     the inner loops (numba)
"""

from encoder.index.format import index_state
from encoder.index.reader import FeatureIndex, open_index

__all__ = ["FeatureIndex", "index_state", "open_index"]
