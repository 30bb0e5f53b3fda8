"""A table on disk as record batches in order: a parquet file, or an Arrow file (Feather). Only some columns are read.

    parquet    PAR1 | row group | row group | ... | footer     a row group is decoded a few rows at a time
    Arrow      ARROW1 | record batch | ... | footer            a record batch is decoded whole, if it is compressed

Nothing is executed. pyarrow checks the structure; sizes that a page claims are pyarrow's to allocate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoder.stores.object_path import ObjectPath

PARQUET, ARROW_FILE = b"PAR1", b"ARROW1"
_BUFFER_BYTES = 1 << 20
_FOOTER_BYTES = 64 << 20  # what a footer's strings, and its lists, may take


@dataclass(frozen=True, slots=True)
class Table:
    """`schema` is Arrow's; `n_rows` are the rows of each part, in order.

    `batches(part, columns, n)` yields the record batches from the first row of that part to the table's end, each of at
    most n rows.
    """

    schema: Any
    n_rows: Sequence[int]
    batches: Callable[[int, Sequence[str], int], Iterator[Any]]


def looks_like(head: bytes) -> bool:
    """Whether these first bytes begin a parquet or an Arrow file."""
    return head.startswith((PARQUET, ARROW_FILE))


def open_table(path: Path, head: bytes) -> Table:
    """Open the file and read its footer. Raises pyarrow's own errors."""
    return _parquet(path) if head.startswith(PARQUET) else _arrow(path)


def _parquet(path: Path) -> Table:
    from pyarrow import parquet

    file = parquet.ParquetFile(
        path.open("rb") if isinstance(path, ObjectPath) else path,
        buffer_size=_BUFFER_BYTES,
        page_checksum_verification=True,
        thrift_string_size_limit=_FOOTER_BYTES,
        thrift_container_size_limit=_FOOTER_BYTES,
    )
    counts = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]

    def batches(part: int, columns: Sequence[str], n_rows: int) -> Iterator[Any]:
        rest = list(range(part, len(counts)))
        yield from file.iter_batches(n_rows, row_groups=rest, columns=list(columns), use_threads=False)

    return Table(file.schema_arrow, counts, batches)


def _arrow(path: Path) -> Table:
    import pyarrow as pa

    file = pa.ipc.open_file(pa.memory_map(str(path)))

    def batches(part: int, columns: Sequence[str], n_rows: int) -> Iterator[Any]:
        for i in range(part, file.num_record_batches):
            batch = file.get_batch(i).select(list(columns))
            batch.validate()
            for at in range(0, batch.num_rows, n_rows):
                yield batch.slice(at, n_rows)

    counts = [file.get_batch(i).num_rows for i in range(file.num_record_batches)]
    return Table(file.schema, counts, batches)
