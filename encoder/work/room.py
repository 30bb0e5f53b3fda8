"""Does a shard's result fit into one conditional write? Results at addresses have to: only one write is all or nothing.

A row takes 8 bytes, and each of its features 4 and those of its value. How many features a row has is known before for
TopK, and about known where an SAE says so; else it is found out while the shard is encoded, which then stops early.
"""

from __future__ import annotations

from pathlib import Path

from encoder.errors import ShardError
from encoder.file.csr import Values
from encoder.sae.sae import LoadedSae
from encoder.stores.object_path import ObjectPath
from encoder.stores.store import MAX_PUT_BYTES

_MARGIN = 0.9
"""Of what one write takes: the shards of the advice are to fit in any case."""


def check_fits(shard: Path, n_rows: int, sae: LoadedSae, values: Values, out: Path) -> None:
    """Raises: ShardError where the result would be too large for its address, with how to cut the shard."""
    if not isinstance(out, ObjectPath):
        return
    k = None if sae.rule is None else sae.rule.k
    l0 = k if k is not None else sae.expected_l0 or 0
    row_bytes = 8 + l0 * (4 + (2 if values == "float16" else 4))
    n_bytes = n_rows * row_bytes
    if n_bytes > MAX_PUT_BYTES:
        raise ShardError(
            f"{shard}: its {n_rows:,} rows, of {l0:g} features each, make a result of {n_bytes / 1e9:.1f} GB, and one"
            f" conditional write to a store takes {MAX_PUT_BYTES / 1e9:.1f}: cut the shard into files of at most"
            f" {int(_MARGIN * MAX_PUT_BYTES / row_bytes):,} rows, or name a folder as --out"
        )
