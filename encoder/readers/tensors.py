"""safetensors, torch .pt, numpy .npz: one array, or names -> arrays (a TransformerLens cache, {hook_name: [b, s, d]}).

With several tensors the only one whose rows fit the SAE is taken, else --select names it; nested names join with dots.
Token ids and a mask of the same file come along where their names say what they are. Token ids must match the rows; a
mask is also what attention calls its [s, s], so one of another shape is passed over, with a note.
"""

from __future__ import annotations

from typing import Any

from encoder.errors import ShardError
from encoder.readers import numpy_archive, safetensors_header, torch_archive
from encoder.readers.arrays import Array
from encoder.readers.assemble import fits, shard_of
from encoder.readers.select import check_rows, choose, declared, printable
from encoder.readers.source import Source
from encoder.shard import Shard

NAME = "safetensors, torch .pt, numpy .npz"
TOKEN_NAMES = ("token_ids", "tokens", "input_ids")
MASK_NAMES = ("mask", "attention_mask")


def claims(source: Source) -> bool:
    head = source.head
    is_numpy_or_torch = numpy_archive.looks_like(head) or torch_archive.looks_like(head)
    return is_numpy_or_torch or safetensors_header.looks_like(head, source.size)


def open_shard(source: Source) -> Shard:
    contents = source.contents
    if isinstance(contents, Array):
        source.allow_select()
        rows = declared(contents, source)
        check_rows(rows, "the tensor", source)
        return shard_of(source, rows)
    source.allow_select("key")
    named: dict[str, Array] = {}
    _flatten(source, contents, "", named)
    if not named:
        raise ShardError(f"{source.path}: holds no dense tensors of a dtype that can be read")
    name, rows = choose(named, source)
    ids, mask = _companion(named, TOKEN_NAMES, name), _companion(named, MASK_NAMES, name)
    notes: tuple[str, ...] = ()
    if mask is not None and not fits(rows, mask):
        notes = (f"the mask is {mask.describe()}, not one entry for each row, and is not used",)
        mask = None
    return shard_of(source, rows, ids=ids, mask=mask, hook_name=name, notes=notes)


def _flatten(source: Source, value: Any, name: str, named: dict[str, Array]) -> None:
    if isinstance(value, Array):
        if name in named:
            raise ShardError(f"{source.path}: two tensors are called {printable(name)}; rename one and save it again")
        named[name] = value
    elif isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            _flatten(source, item, f"{name}.{key}" if name else str(key), named)


def _companion(named: dict[str, Array], names: tuple[str, ...], chosen: str) -> Array | None:
    return next((named[name] for name in names if name in named and name != chosen), None)
