"""Sparse rows: a batch of them in memory, and the file that a shard's batches make.

The file is an uncompressed npz that `scipy.sparse.load_npz` opens as CSR [T, F]; members in this order:

    format          S3       "csr"
    shape           int64    [2]      T, F
    meta            uint8    [...]    JSON: what the caller says of the shard, and `rows`, `nnz`, `sections` if any
    indptr          int64    [T + 1]
    indices         int32    [nnz]    ascending within a row
    data            float32  [nnz]    or float16; never zero, never NaN or infinite
    ...                               what the shard says of its rows: see token_arrays.py

Batches are spooled to nameless files, so memory is bounded by the batch, and the bytes do not depend on how the rows
were split. A crash leaves at most the temporary file. Shapes: T rows, F = d_sae.
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, Protocol, Self

import numpy as np

from encoder.arrays import I32, I64, Bool, Float, Int
from encoder.errors import FencedError, ShardError
from encoder.file.npz import write_member
from encoder.file.token_arrays import arrays_of
from saefetch.files.atomic import fsync_folder

if TYPE_CHECKING:
    from encoder.shard import Tokens

Values = Literal["float32", "float16"]

_COPY_BYTES = 1 << 20
_CHECK_ELEMENTS = 1 << 20


class CsrLike(Protocol):
    """What `check` needs: a `Csr`, or a scipy CSR."""

    @property
    def indptr(self) -> Int: ...
    @property
    def indices(self) -> Int: ...
    @property
    def data(self) -> Float: ...
    @property
    def shape(self) -> tuple[int, int]: ...


@dataclass(frozen=True, slots=True)
class Csr:
    """Rows of features: indptr int64 [T + 1], indices int32 [nnz] rising within a row, data float32|float16 [nnz]."""

    indptr: I64
    indices: I32
    data: Float
    shape: tuple[int, int]

    @classmethod
    def of_kept(cls, indptr: I64, indices: I32, values: Float, keep: Bool, d_sae: int) -> Csr:
        """Take the entries where `keep` (bool [nnz]) holds, with `values` (any float) rounded to float32."""
        n_kept = np.zeros(len(keep) + 1, np.int64)
        np.cumsum(keep, out=n_kept[1:])
        kept = values[keep]
        return cls(n_kept[indptr], indices[keep], _rounded(kept, np.float32), (len(indptr) - 1, d_sae))

    def take(self, rows: I64) -> Csr:
        """Return these rows, in the order asked for."""
        starts, stops = self.indptr[rows], self.indptr[rows + 1]
        indptr = np.zeros(len(starts) + 1, np.int64)
        np.cumsum(stops - starts, out=indptr[1:])
        at = np.repeat(starts - indptr[:-1], stops - starts) + np.arange(indptr[-1])
        return Csr(indptr, self.indices[at], self.data[at], (len(starts), self.shape[1]))

    def emptied(self, rows: I64) -> Csr:
        """Return all rows, `rows` without their entries."""
        lengths = np.diff(self.indptr)
        is_kept = np.ones(len(lengths), np.bool_)
        is_kept[rows] = False
        keep = np.repeat(is_kept, lengths)
        indptr = np.concatenate([[0], np.cumsum(np.where(is_kept, lengths, 0))])
        return Csr(indptr, self.indices[keep], self.data[keep], self.shape)

    @classmethod
    def concatenate(cls, parts: Sequence[Csr], d_sae: int) -> Csr:
        """Put the rows of `parts` one below the other; no parts make no rows."""
        starts = np.cumsum([0, *(len(part.indices) for part in parts)])
        indptr = [part.indptr[1:] + start for part, start in zip(parts, starts[:-1], strict=True)]
        return cls(
            np.concatenate([np.zeros(1, np.int64), *indptr]),
            np.concatenate([np.zeros(0, np.int32), *(part.indices for part in parts)]),
            np.concatenate([part.data for part in parts]) if parts else np.zeros(0, np.float32),
            (sum(part.shape[0] for part in parts), d_sae),
        )


def check(matrix: CsrLike, name: str = "CSR") -> None:
    """Raise ShardError unless the matrix keeps what the format promises.

    indptr rises from 0 to nnz; columns rise strictly within a row and are below F; no value is 0, NaN or infinite.
    """
    indptr, indices, data, width = matrix.indptr, matrix.indices, matrix.data, matrix.shape[1]
    nnz = len(indices)
    if len(indptr) < 1 or len(indptr) != matrix.shape[0] + 1 or len(data) != nnz:
        raise ShardError(
            f"{name}: {len(indptr)} row bounds, {nnz} columns and {len(data)} values for {matrix.shape[0]} rows"
        )
    if indptr[0] != 0 or indptr[-1] != nnz or (indptr[1:] < indptr[:-1]).any():
        raise ShardError(f"{name}: indptr does not rise from 0 to {nnz} (from {indptr[0]} to {indptr[-1]})")

    def fail(at: Any, what: str) -> ShardError:
        row = int(np.searchsorted(indptr, at, side="right")) - 1
        return ShardError(f"{name}: row {row} has {what} (column {indices[at]}, value {data[at]}, width {width})")

    for start in range(0, nnz, _CHECK_ELEMENTS):
        columns = indices[start : start + _CHECK_ELEMENTS + 1]  # one more, to compare across the seam
        if columns.min() < 0 or columns.max() >= width:
            raise fail(start + int(((columns < 0) | (columns >= width)).argmax()), "a column outside the width")
        falls = start + 1 + np.flatnonzero(columns[1:] <= columns[:-1])
        within = falls[indptr[np.searchsorted(indptr, falls)] != falls]  # a fall is fine where a row starts
        if within.size:
            raise fail(within[0], "columns that do not rise")
        values = data[start : start + _CHECK_ELEMENTS]
        good = np.isfinite(values) & (values != 0)
        if not good.all():
            raise fail(start + int(good.argmin()), "a stored zero, NaN or infinity")


def fitted(values: Float, dtype: np.dtype[Any], name: str) -> Float:
    """Round finite values to `dtype`. Raises: ShardError if one is too large for it."""
    data = _rounded(values, dtype)
    if not np.isfinite(data).all():
        raise ShardError(f"{name}: a value of {np.abs(values).max():g} does not fit {dtype}; use --values float32")
    return data


def _rounded(values: Float, dtype: Any) -> Float:
    """Round to `dtype`; what would become 0 becomes the smallest number instead: rounding switches no feature off."""
    with np.errstate(over="ignore", under="ignore"):
        rounded = values.astype(dtype, copy=False)
    lost = (rounded == 0) & (values != 0)
    if lost.any():
        rounded[lost] = np.copysign(np.finfo(dtype).smallest_subnormal, values[lost])
    return rounded


class CsrWriter:
    """Write one shard's file: `append` each batch, `finish`, `publish`; leaving the block without that leaves nothing.

    `temporary` is where the file is until it is published: in the folder of `path`, and nobody else's. A file of over
    `max_bytes` is refused as soon as that is known.

        with CsrWriter(path, d_sae, values="float32", temporary=claim.temporary) as writer:
            writer.append(batch)
            writer.finish(meta, tokens)     # complete and fsynced, under a temporary name
            writer.publish()                # renamed over `path`; the caller has made sure that it still may
    """

    def __init__(
        self,
        path: Path,
        d_sae: int,
        *,
        values: Values = "float32",
        temporary: Path | None = None,
        max_bytes: int | None = None,
    ) -> None:
        self.path, self._max_bytes = path, max_bytes
        self.temporary = temporary or path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
        self.n_rows = self.nnz = 0
        self._d_sae, self._dtype = d_sae, np.dtype(values).newbyteorder("<")
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        self.temporary.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as opened:
            self._indptr, self._indices, self._data = (
                opened.enter_context(tempfile.TemporaryFile(dir=self.temporary.parent, buffering=_COPY_BYTES))
                for _ in range(3)
            )
            self._indptr.write(np.zeros(1, "<i8").data)
            self._cleanup = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._cleanup.close()
        finally:
            self.temporary.unlink(missing_ok=True)

    def append(self, batch: Csr) -> None:
        """Add rows. Raises ShardError if they break the format or a value does not fit the values' dtype."""
        if batch.shape[1] != self._d_sae:
            raise ShardError(f"{self.path.name}: a batch of width {batch.shape[1]}, expected {self._d_sae}")
        check(batch, self.path.name)
        data = fitted(batch.data, self._dtype, self.path.name)
        self._indptr.write(np.ascontiguousarray(batch.indptr[1:] + self.nnz, "<i8").data)
        self._indices.write(np.ascontiguousarray(batch.indices, "<i4").data)
        self._data.write(np.ascontiguousarray(data).data)
        self.n_rows += batch.shape[0]
        self.nnz += len(batch.indices)
        self._check_size()

    def _check_size(self) -> None:
        n_bytes = 8 * self.n_rows + (4 + self._dtype.itemsize) * self.nnz
        if self._max_bytes is not None and n_bytes > self._max_bytes:
            raise ShardError(
                f"{self.path}: the result has over {self._max_bytes:,} bytes after {self.n_rows:,} rows, more than one"
                f" conditional write to a store takes: cut the shard into files of at most"
                f" {self.n_rows * 9 // 10:,} rows, or name a folder as --out"
            )

    def finish(self, meta: dict[str, Any], tokens: Tokens) -> None:
        """Make the file complete and durable under its temporary name.

        `meta` must be JSON without NaN; `rows`, `nnz` and the tokens' sections are added to it.
        """
        meta = {**meta, "rows": self.n_rows, "nnz": self.nnz}
        if tokens.sections:
            meta["sections"] = tokens.sections
        told = np.frombuffer(json.dumps(meta, sort_keys=True, allow_nan=False).encode(), np.uint8)
        rows, nnz, value = (self.n_rows + 1,), (self.nnz,), self._dtype.str
        per_row = list(arrays_of(tokens, self.n_rows, self.path.name))
        self.temporary.unlink(missing_ok=True)
        with self.temporary.open("xb", buffering=_COPY_BYTES) as file:
            with zipfile.ZipFile(file, "w") as archive:
                write_member(archive, file, "format", "|S3", (), [b"csr"])
                write_member(archive, file, "shape", "<i8", (2,), [np.array([self.n_rows, self._d_sae], "<i8").data])
                write_member(archive, file, "meta", "|u1", told.shape, [told.data])
                write_member(archive, file, "indptr", "<i8", rows, _parts_of(self._indptr))
                write_member(archive, file, "indices", "<i4", nnz, _parts_of(self._indices))
                write_member(archive, file, "data", value, nnz, _parts_of(self._data))
                for name, dtype, shape, parts in per_row:
                    write_member(archive, file, name, dtype, shape, parts)
            file.flush()
            os.fsync(file.fileno())

    def publish(self) -> None:
        """Give the finished file its name, and make that durable. Raises FencedError if another one took it away."""
        try:
            self.temporary.replace(self.path)
        except FileNotFoundError as exc:
            raise FencedError(f"{self.path.name}: the finished file is gone; another worker has this shard") from exc
        fsync_folder(self.path.parent)


def _parts_of(spool: IO[bytes]) -> Iterator[bytes]:
    spool.seek(0)
    while part := spool.read(_COPY_BYTES):
        yield part
