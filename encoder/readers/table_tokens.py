"""The columns beside the activations of a table: token ids and texts, documents, positions, a mask.

A column counts if it has the activations' own nesting: one entry for each token. Where a row of the table is a token,
a document begins where the value of the document's column changes; without it, where the position does not rise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from encoder.arrays import F64, I64, AnyArray
from encoder.errors import ShardError
from encoder.readers.arrow_stream import arrow_errors, is_list, list_lengths
from encoder.readers.companions import counting, is_mask, may_be_mask, why_unclear
from encoder.readers.source import printable
from encoder.readers.table_rows import Column, TableRows, flat
from encoder.shard import Tokens

ID_NAMES = ("token_ids", "token_id", "input_ids", "tokens", "token")
TEXT_NAMES = ("tokens", "token", "token_str", "token_text", "str_tokens")
DOCUMENT_NAMES = (
    "document", "document_id", "doc", "doc_id", "document_index", "doc_index", "row_document", "sequence_id",
    "sequence", "prompt_id", "prompt_index", "example_id", "sample_id", "text_id",
)  # fmt: skip
POSITION_NAMES = ("position", "pos", "token_position", "token_index", "token_idx", "row_position")
_MANY_ROWS = 1 << 14


def read_tokens(rows: TableRows) -> Tokens:
    """Read the columns beside the activations whole: they are small. Raises: ShardError if they do not fit the rows."""
    beside = _Beside(rows)
    with arrow_errors(rows.path):
        document, position = beside.numbers(DOCUMENT_NAMES), beside.numbers(POSITION_NAMES)
        if rows.lengths is not None:
            starts = np.cumsum(rows.lengths) - rows.lengths
            document = np.repeat(np.arange(len(rows.lengths), dtype=np.int64), rows.lengths)
            position = np.arange(rows.n_rows) - np.repeat(starts, rows.lengths)
        elif document is not None and len(document):
            begins = np.flatnonzero(np.diff(document, prepend=document[0] - 1))
            document = np.repeat(np.arange(len(begins)), np.diff(begins, append=rows.n_rows))
            position = np.arange(rows.n_rows) - begins[document] if position is None else position
        elif document is None and position is not None and len(position):
            document = np.cumsum(np.diff(position, prepend=position[0] - 1) <= 0)
        mask = beside.mask()
        return Tokens(
            token_ids=beside.numbers(ID_NAMES),
            texts=beside.texts(),
            row_document=document,
            row_position=position,
            row_mask=None if mask is None else counting(rows.path, mask),
        )


@dataclass(frozen=True)
class _Beside:
    """The columns beside the activations, each flattened to one entry a token."""

    rows: TableRows

    def numbers(self, names: tuple[str, ...]) -> I64 | None:
        """Return the first of these columns that holds integers or booleans; documents may have names."""
        name = self._find(names, "integer") or self._find(names, "bool")
        if name is not None:
            return self._whole(name).astype(np.int64)
        if names is not DOCUMENT_NAMES or self.rows.column.depth > 1:
            return None
        name = self._find(names, "string")
        if name is None:
            return None
        numbers: I64 = np.unique(self._whole(name).astype(str), return_inverse=True)[1].astype(np.int64)
        return numbers

    def mask(self) -> F64 | I64 | None:
        """Return the numbers of the first column that has a mask's name."""
        names = tuple(name for name in self.rows.table.schema.names if is_mask(name))
        name = self._find(names, "float")
        return self.numbers(names) if name is None else self._whole(name).astype(np.float64)

    def texts(self) -> list[str] | None:
        name = self._find(TEXT_NAMES, "string")
        return None if name is None else [str(text) for text in self._whole(name)]

    def _find(self, names: tuple[str, ...], kind: str) -> str | None:
        """Find a column that is so called, of this kind and of the activations' nesting."""
        from pyarrow import types

        tests = {
            "integer": types.is_integer,
            "bool": types.is_boolean,
            "float": types.is_floating,
            "string": lambda type_: types.is_string(type_) or types.is_large_string(type_),
        }
        for name in names:
            if name in self.rows.table.schema.names and name != self.rows.column.name:
                depth, leaf = nesting(self.rows.table.schema.field(name).type)
                if depth == self.rows.column.depth - 1 and tests[kind](leaf):
                    return name
        return None

    def _whole(self, name: str) -> AnyArray:
        parts, lengths = [np.zeros(0, object)], [np.zeros(0, np.int64)]
        for batch in self.rows.table.batches(0, [name], _MANY_ROWS):
            entries = batch.column(0)
            if self.rows.column.depth == 2:
                lengths.append(list_lengths(entries))
                entries = flat(self.rows.path, name, entries)
            if entries.null_count:
                raise ShardError(f"{self.rows.path}: column {printable(name)} has empty entries (null)")
            parts.append(entries.to_numpy(zero_copy_only=False))
        whole = np.concatenate(parts)
        of_documents = self.rows.lengths is None or np.array_equal(np.concatenate(lengths), self.rows.lengths)
        if len(whole) != self.rows.n_rows or not of_documents:
            raise ShardError(
                f"{self.rows.path}: column {printable(name)} has {len(whole):,} entries for {self.rows.n_rows:,} rows,"
                " or others in a document than the activations have; written from different runs?"
            )
        return whole


def notes_of(schema: Any, column: Column) -> tuple[str, ...]:
    """Return a note for each column beside the activations that may be a mask and is not obeyed."""
    beside = [(member.name, *nesting(member.type)) for member in schema if member.name != column.name]
    return tuple(
        why_unclear(name)
        for name, depth, leaf in beside
        if depth == column.depth - 1 and may_be_mask(name, str(leaf)) and str(leaf) != "string"
    )


def nesting(type_: Any) -> tuple[int, Any]:
    """Return how many lists are around what, such as 2 and float for list<list<float>>."""
    depth = 0
    while is_list(type_):
        depth, type_ = depth + 1, type_.value_type
    return depth, type_
