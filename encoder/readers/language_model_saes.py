"""Language-Model-SAEs: <cache>/<hook>/chunk-%08d.safetensors or shard-<rank>-chunk-%08d.*, or the same as .pt.

Keys `activation` [n, ctx, d] or [ctx, d], `tokens` and `mask` of the same shape; `mask` says which rows are real.
Meta data, if any, is `<chunk>.meta.json`, or the .pt's own `meta`; neither is needed. Chunks sort by (rank, number).
"""

from __future__ import annotations

import re
from pathlib import Path

from encoder.readers.assemble import shard_of
from encoder.readers.companions import mask_beside
from encoder.readers.source import Source
from encoder.shard import Shard

NAME = "Language-Model-SAEs"
_CHUNK = re.compile(r"(?:shard-([0-9]+)-)?chunk-([0-9]+)\.(?:safetensors|pt)")


def claims(source: Source) -> bool:
    return source.has_arrays("activation", "tokens")


def open_shard(source: Source) -> Shard:
    source.allow_select()
    rows, ids, mask = (source.arrays.get(name) for name in ("activation", "tokens", "mask"))
    assert rows is not None and ids is not None  # `claims` has seen both
    notes: tuple[str, ...] = ()
    if mask is None:
        mask, notes = mask_beside(source.arrays, "activation", ids.shape)
    hook_name = source.path.parent.name if _CHUNK.fullmatch(source.path.name) else ""
    return shard_of(source, rows, "'activation'", ids=ids, mask=mask, hook_name=hook_name, notes=notes, is_plain=True)


def data_files(folder: Path) -> list[Path] | None:
    """List the chunks of one hook point, or None if the folder has none."""
    found = [(match, path) for path in folder.iterdir() if (match := _CHUNK.fullmatch(path.name))]
    found.sort(key=lambda item: (int(item[0][1] or 0), int(item[0][2]), item[1].name))
    return [path for _, path in found] or None
