"""parquet and Arrow files: a column of lists holds the activations, and columns beside it say of which token each is.

    activation   list<float> [d]            a row of the table is a token
                 list<list<float>> [s, d]   a row of the table is a document, or a context, of s tokens

`table_rows` decodes the activations, `table_tokens` has the names of the columns beside them.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from encoder.errors import AmbiguousError, ShardError
from encoder.hooks import parse
from encoder.readers.arrow_stream import FLOATS, arrow_errors, list_lengths
from encoder.readers.assemble import finished
from encoder.readers.axes import tells_layer
from encoder.readers.companions import is_companion
from encoder.readers.layers import check_are_documents
from encoder.readers.resolve import Offer, places_of, resolve
from encoder.readers.source import Source, printable
from encoder.readers.table_rows import Column, TableRows, lists_of
from encoder.readers.table_tokens import nesting, notes_of, read_tokens
from encoder.readers.tables import Table, looks_like, open_table
from encoder.readers.told import place_of_rows, tells_place
from encoder.shard import Shard

NAME = "parquet, Arrow file"
_FEW_ROWS = 64
_MANY_ROWS = 1 << 14


def claims(source: Source) -> bool:
    return looks_like(source.head)


def open_shard(source: Source) -> Shard:
    source.allow_select("key", "axes")
    if source.axes not in ((), ("document", "token", "d")):
        raise ShardError(
            f"{source.path}: leave --axes out, or say document,token,d: a table's columns have no other axes"
        )
    with arrow_errors(source.path):
        table = open_table(source.path, source.head)
        column, places = _column(source, table)
        d_in = _width(source, table, column)
        rows = TableRows(source.path, table, column, d_in)
        if rows.lengths is not None and len(table.schema) == 1:  # a column beside would tell tokens from layers
            check_are_documents(source, f"column {printable(column.name)}", rows.read, rows.lengths)
        hook_name = column.name if parse(column.name).is_known else _place(source, table) or column.name
    tokens = partial(read_tokens, rows)
    notes = notes_of(table.schema, column)
    return finished(source, rows.n_rows, d_in, column.dtype, rows.read, tokens, hook_name, notes, places)


def _place(source: Source, table: Table) -> str:
    """Return the place that columns such as `layer` tell of all rows; "" if none does."""
    told: dict[str, set[object]] = {}
    for name in table.schema.names:
        if tells_place(name, table.schema.field(name).type):
            batches = table.batches(0, [name], _MANY_ROWS)
            told[name] = {value for batch in batches for value in batch.column(0).unique().to_pylist()}
    return place_of_rows(source, told)


def _column(source: Source, table: Table) -> tuple[Column, tuple[str, ...]]:
    """Choose the column of lists of floats that --select names, else the SAE's own, else the only one.

    Returns also the places in the model that all of them are of.
    """
    named = {}
    for member in table.schema:
        depth, leaf = nesting(_storage_type(member.type))
        if depth in (1, 2) and str(leaf) in FLOATS:
            if member.name in named:
                raise ShardError(f"{source.path}: two columns are called {printable(member.name)}; rename one")
            named[member.name] = Column(member.name, depth, FLOATS[str(leaf)])
    named = {name: one for name, one in named.items() if not is_companion(name)} or named
    layer = source.select.get("layer")
    if layer is not None:
        named = {name: one for name, one in named.items() if tells_layer(name, layer)}
    wanted, places = source.select.get("key"), places_of(Offer(name, name) for name in named)
    shown = ", ".join(f"{printable(name)} {table.schema.field(name).type}" for name in list(named)[:20]) or "none"
    if wanted is not None and wanted not in named:
        raise ShardError(f"{source.path}: has no column of activations {wanted!r}; columns of lists of floats: {shown}")
    if not named and layer is not None:
        raise ShardError(f"{source.path}: leave --select layer={layer} out: the name of no column tells that layer")
    if not named:
        columns = ", ".join(f"{printable(member.name)} {member.type}" for member in list(table.schema)[:20])
        raise ShardError(
            f"{source.path}: no column holds lists of float16, float32 or float64, one list for each token; it has"
            f" {columns[:600]}"
        )
    if wanted is None and len(named) > 1:
        chosen = resolve([Offer(name, name) for name in named], source)
        if chosen is not None:
            return named[chosen.name], places
        raise AmbiguousError(
            f"{source.path}: choose with --select {printable(next(iter(named)))}, as several columns fit: {shown}"
        )
    return named[wanted if wanted is not None else next(iter(named))], places


def _storage_type(type_: Any) -> Any:
    return getattr(type_, "storage_type", type_)


def _width(source: Source, table: Table, column: Column) -> int:
    """Return d_in, as the SAE says, or else as the first row does."""
    first = source.d_in
    for batch in table.batches(0, [column.name], _FEW_ROWS):
        lists = lists_of(source.path, column, batch)
        if len(lists):
            first = int(list_lengths(lists)[0])
            break
    if not first:
        raise ShardError(f"{source.path}: column {printable(column.name)} holds no rows, so their width is not known")
    if source.d_in not in (None, first):
        raise ShardError(
            f"{source.path}: column {printable(column.name)} holds rows of {first}, but the SAE takes {source.d_in}"
        )
    return first
