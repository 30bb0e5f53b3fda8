"""SAELens' CacheActivationsRunner: a `datasets` folder, read with pyarrow alone.

    <folder>/state.json  {"_data_files": [{"filename"}]}, in order    dataset_info.json    cache-*.arrow (not data)
    <folder>/data-*.arrow  Arrow IPC *stream*: schema | record batch | ... | end mark
        <hook_name>: list<list<float>> [ctx, d], an extension type over it    token_ids: list<int32> [ctx]
        attention_mask, as other programs that save such folders add: list of integers, booleans or floats [ctx]

A row of the table is a context, so it gives ctx rows. Nothing of the extension type is needed: its storage is the data.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from encoder.arrays import I64, AnyArray
from encoder.errors import AmbiguousError, ShardError
from encoder.hooks import parse
from encoder.readers.arrays import Array, tensor_of
from encoder.readers.arrow_stream import (
    CONTINUATION,
    FLOATS,
    Stream,
    arrow_errors,
    flat_values,
    is_list,
    list_lengths,
    place,
    read_batches,
    storage,
)
from encoder.readers.assemble import finished, joined
from encoder.readers.companions import counting, is_companion, is_mask, may_be_mask, why_unclear
from encoder.readers.layers import check_are_documents
from encoder.readers.resolve import Offer, places_of, resolve
from encoder.readers.side_json import read_json
from encoder.readers.source import Source, printable
from encoder.readers.told import place_of_rows, tells_place
from encoder.shard import Shard, Tokens

NAME = "SAELens / datasets Arrow"
TOKEN_IDS = ("token_ids", "input_ids", "tokens")
INDEX = "state.json"
_PLAIN = re.compile(r"[^/\\\0]+\.arrow")


def claims(source: Source) -> bool:
    return source.head.startswith(CONTINUATION) or _is_index(source.path)


def data_files(folder: Path) -> list[Path] | None:
    """List the Arrow files of a saved dataset in the order of its state.json; None if this is not one.

    Of an index that names other files, the index itself is listed last: to open it is to be told why.
    """
    state = folder / INDEX
    if not _is_index(state):
        return None
    try:
        names, foreign = _index(state)
    except ShardError:
        return [state]
    return [folder / name for name in names] + ([state] if foreign else [])


def _is_index(path: Path) -> bool:
    return path.name == INDEX and path.is_file() and (path.parent / "dataset_info.json").is_file()


def _index(state: Path) -> tuple[list[str], list[str]]:
    """Return the names of files in the dataset's folder, and of what else the index names."""
    entries = read_json(state).get("_data_files")
    if not isinstance(entries, list):
        raise ShardError(f"{state}: _data_files is {type(entries).__name__}, expected a list; not a saved dataset")
    names = [entry.get("filename") if isinstance(entry, dict) else None for entry in entries]
    good = [name for name in names if isinstance(name, str) and _PLAIN.fullmatch(name)]
    return good, [str(name) for name in names if name not in good]


def open_shard(source: Source) -> Shard:
    if _is_index(source.path):
        foreign = _index(source.path)[1]
        raise ShardError(f"{source.path}: names {printable(foreign)}, expected an .arrow file in this folder")
    source.allow_select("key", "axes")
    if source.axes not in ((), ("document", "token", "d")):
        raise ShardError(
            f"{source.path}: leave --axes out, or say document,token,d: a data set's columns have no other axes"
        )
    with arrow_errors(source.path):
        stream = read_batches(source.path)
        hook_name, places = _hook(source, stream.schema)
        columns = [_Column(source, stream, hook_name, storage(batch, hook_name)) for batch in stream.batches]
        d = next((column.width for column in columns if column.n_rows), source.d_in)
        if d is None:
            raise ShardError(f"{source.path}: holds no rows, so their width is not known")
        for column in columns:
            column.check(d)
        dtype = columns[0].dtype if columns else "float32"
        names = [name for name in stream.schema.names if name != hook_name]
        ids = _beside(source, stream, columns, next((name for name in TOKEN_IDS if name in names), None))
        mask = _beside(source, stream, columns, next(filter(is_mask, names), None))
        notes = _notes(stream.schema, hook_name)
        place = hook_name if parse(hook_name).is_known else _place(source, stream) or hook_name
    read = (
        joined([column.rows(d) for column in columns])
        if columns
        else lambda start, stop: tensor_of(np.empty((0, d), np.float32), "float32")
    )
    n_rows = sum(column.n_rows for column in columns)
    if not names:  # a column beside would tell tokens from layers
        lengths = np.concatenate([np.zeros(0, np.int64), *(list_lengths(column.contexts) for column in columns)])
        check_are_documents(source, f"column {printable(hook_name)}", read, lengths)
    tokens = partial(_tokens, source, columns, ids, mask)
    return finished(source, n_rows, d, dtype, read, tokens, place, notes, places)


def _place(source: Source, stream: Stream) -> str:
    """Return the place that columns such as `layer` tell of all contexts; "" if none does."""
    told = {
        name: {value for batch in stream.batches for value in storage(batch, name).unique().to_pylist()}
        for name in stream.schema.names
        if tells_place(name, stream.schema.field(name).type)
    }
    return place_of_rows(source, told)


def _hook(source: Source, schema: Any) -> tuple[str, tuple[str, ...]]:
    """Choose the column of matrices that --select names, else the SAE's own, else the only one.

    Returns also the places in the model that all of them are of.
    """
    import pyarrow as pa

    names = [
        field.name
        for field in schema
        if not is_companion(field.name) and (isinstance(field.type, pa.BaseExtensionType) or is_list(field.type))
    ]
    nested = [name for name in names if _depth(schema.field(name).type) > 1]
    names = nested or names
    wanted = source.select.get("key")
    shown = ", ".join(printable(name) for name in names[:20]) or "none"
    offers = [Offer(name, name) for name in names]
    chosen = resolve(offers, source) if wanted is None else None
    if chosen is not None:
        wanted = chosen.name
    elif wanted is None and len(names) > 1:
        raise AmbiguousError(
            f"{source.path}: columns of several hooks: {shown}; choose with --select {printable(names[0])}"
        )
    if not names or (wanted is not None and wanted not in names) or len(set(schema.names)) != len(schema.names):
        raise ShardError(f"{source.path}: no column {wanted or 'of activations'!r}; columns of lists: {shown}")
    return wanted or names[0], places_of(offers)


class _Column:
    """The contexts of one record batch: list<list<float>>, as offsets into one flat array of floats."""

    def __init__(self, source: Source, stream: Stream, name: str, contexts: Any) -> None:
        self.source, self.contexts = source, contexts
        if not is_list(contexts.type) or not is_list(contexts.type.value_type):
            raise ShardError(f"{source.path}: column {name!r} is {str(contexts.type)[:80]}, expected lists [ctx, d]")
        self.dtype = FLOATS.get(str(contexts.type.value_type.value_type), "")
        if not self.dtype:
            leaf = str(contexts.type.value_type.value_type)[:80]
            raise ShardError(f"{source.path}: column {name!r} holds {leaf}, expected float16, float32 or float64")
        rows = flat_values(source.path, contexts)
        self.row_lists = rows
        self.flat = place(stream, flat_values(source.path, rows), f"column {printable(name)}")
        self.n_rows = len(rows)
        self.width = self.flat.width // self.n_rows if self.n_rows else 0

    def check(self, d: int) -> None:
        """Compare the width with the SAE's and with the other batches'; each row is a list, and must have it too."""
        if self.flat.width != self.n_rows * d:
            raise ShardError(
                f"{self.source.path}: {self.flat.width} values in {self.n_rows} rows, expected {d} in each"
            )
        if self.n_rows and self.source.d_in not in (None, d):
            raise ShardError(
                f"{self.source.path}: rows of {d}, but the SAE takes {self.source.d_in}; these come from another model"
                f" or hook"
            )
        lengths = list_lengths(self.row_lists)
        if np.any(lengths != d):
            row = int(np.argmax(lengths != d))
            raise ShardError(f"{self.source.path}: a row has {lengths[row]} values, the others {d}")

    def rows(self, d: int) -> Array:
        return replace(self.flat, shape=(self.n_rows, d), strides=(d, 1))


def _depth(type_: Any) -> int:
    type_ = getattr(type_, "storage_type", type_)
    return 1 + _depth(type_.value_type) if is_list(type_) else 0


def _notes(schema: Any, hook_name: str) -> tuple[str, ...]:
    """Return a note for each column that may be a mask of the rows and is not obeyed."""
    fields = [field for field in schema if field.name != hook_name and _depth(field.type) == 1]
    return tuple(why_unclear(one.name) for one in fields if may_be_mask(one.name, str(one.type.value_type)))


def _beside(source: Source, stream: Stream, columns: list[_Column], name: str | None) -> list[Any] | None:
    """Return each record batch's lists of a column that has one entry for each row. Raises: ShardError."""
    import pyarrow as pa

    if name is None:
        return None
    lists = [storage(batch, name) for batch in stream.batches]
    for column, one in zip(columns, lists, strict=True):
        leaf = one.type.value_type if is_list(one.type) else None
        if leaf is None or not (pa.types.is_integer(leaf) or (name not in TOKEN_IDS and _is_of_mask(leaf))):
            raise ShardError(f"{source.path}: {name} is {str(one.type)[:80]}, expected lists of integers")
        if len(flat := flat_values(source.path, one)) != column.n_rows:
            what = "token ids" if name in TOKEN_IDS else f"entries of {name}"
            raise ShardError(f"{source.path}: {len(flat)} {what} for {column.n_rows} rows in a record batch")
    return lists


def _is_of_mask(leaf: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_boolean(leaf) or pa.types.is_floating(leaf))


def _flat(source: Source, lists: list[Any] | None, lengths: I64, what: str) -> AnyArray | None:
    """Return a column's entries, one for each row. Raises: ShardError if a context has another number of them."""
    if lists is None:
        return None
    of_lists = np.concatenate([np.zeros(0, np.int64), *(list_lengths(batch) for batch in lists)])
    if not np.array_equal(of_lists, lengths):
        raise ShardError(f"{source.path}: a context's {what} and rows differ in number")
    return np.concatenate([np.zeros(0, np.int64), *(a.flatten().to_numpy(zero_copy_only=False) for a in lists)])


def _tokens(source: Source, columns: list[_Column], ids: list[Any] | None, mask: list[Any] | None) -> Tokens:
    lengths = np.concatenate([np.zeros(0, np.int64), *(list_lengths(column.contexts) for column in columns)])
    if np.any(lengths < 0) or lengths.sum() != sum(column.n_rows for column in columns):
        raise ShardError(f"{source.path}: the contexts' offsets do not ascend: a false header")
    starts = np.cumsum(lengths) - lengths
    token_ids, counts = _flat(source, ids, lengths, "token ids"), _flat(source, mask, lengths, "mask")
    return Tokens(
        token_ids=None if token_ids is None else token_ids.astype(np.int64),
        row_document=np.repeat(np.arange(lengths.size, dtype=np.int64), lengths),
        row_position=np.arange(lengths.sum(), dtype=np.int64) - np.repeat(starts, lengths),
        row_mask=None if counts is None else counting(source.path, counts),
    )
