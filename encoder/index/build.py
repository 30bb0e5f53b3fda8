"""`features.csc` from a folder of features files, in memory that is bounded, whatever the number of entries.

    shards -> blocks of rows -> tally; a run when memory is full (source.py, runs.py)       reads every entry once
    runs -> rows by feature -> `indices`                                                    once more, from the runs
    runs -> rows and values by feature -> `data`, histogram, strongest                      once more, from the runs
    tokens -> rows by word -> `words`, `word_rows` (word_runs.py)                           reads every token once

While it works it takes as much disk again as the index has, without a name. The bytes do not depend on the memory.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from encoder.arrays import F32, I32, I64, AnyArray, Bool
from encoder.errors import EncoderError, InputError, ShardError
from encoder.file.csr import Csr, check
from encoder.file.documents import Counted, DocumentCounter
from encoder.file.folder import Features, open_features
from encoder.file.npz import write_member
from encoder.index.format import MAX_META_BYTES, N_BINS, N_TOP, NAME, describe, path_beside, row_dtype
from encoder.index.loops import TALLY, summarise, tally, transpose
from encoder.index.put import alone, made, put_index
from encoder.index.runs import Runs, Spool, split
from encoder.index.source import BLOCK_ROWS, Block, blocks
from encoder.index.word_runs import WordRuns
from encoder.machine.scratch import scratch_folder
from encoder.stores.object_path import ObjectPath
from saefetch.files.atomic import atomic_write
from saefetch.files.digest import Stopped

Watch = Callable[[int, int], None]

BLOCK_ENTRIES = 1 << 20
"""Between two looks at whether to stop."""
_BYTES_PER_ENTRY = 20
"""Of a run: columns, values, lengths of rows, and rows and values by feature. Merging takes no more."""
_BYTES_PER_FEATURE = N_TOP * 12 + N_BINS * 8
"""Of a range that is being merged."""
_STEPS = 3
"""How often each entry is gone through, for the progress."""


def build_index(
    folder: Path,
    out: Path | None = None,
    *,
    memory_bytes: int = 256 << 20,
    watch: Watch = lambda done, total: None,
    stopping: Callable[[], bool] = lambda: False,
) -> Path:
    """Write the index of all features files in `folder`, there or in the folder `out`, whether there is one or not.

    `memory_bytes` bounds the arrays; the interpreter and about 150 bytes for each feature come on top. `watch` hears of
    the work done and in all. Raises: EncoderError, also where the disk is full; Stopped, soon after `stopping` says so.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder of features")
    out = folder if out is None else made(out)
    with open_features(folder) as features:
        path = path_beside(folder, features) if out == folder else out / NAME
        if isinstance(path, ObjectPath):
            with scratch_folder() as local:
                _build(features, local / NAME, memory_bytes, watch, stopping)
                put_index(local / NAME, path)
            return path
        with alone(out):
            _build(features, path, memory_bytes, watch, stopping)
    return path


def _build(features: Features, path: Path, memory_bytes: int, watch: Watch, stopping: Callable[[], bool]) -> None:
    try:
        with atomic_write(path) as file:
            _Build(features, path.parent, memory_bytes, watch, stopping).write(file)
    except OSError as exc:
        hint = "; --out DIR puts it into another folder" if isinstance(exc, PermissionError) else ""
        raise EncoderError(f"{path}: cannot be written: {exc.strerror or exc}{hint}") from exc


@dataclass(frozen=True, slots=True)
class _Build:
    features: Features
    folder: Path
    memory: int
    watch: Watch
    stopping: Callable[[], bool]

    def write(self, file: BinaryIO) -> None:
        width = self.features.shape[1]
        capacity = max(self.memory // _BYTES_PER_ENTRY, width, 1)
        with ExitStack() as opened:
            runs = opened.enter_context(Runs(self.folder, width, capacity))

            def spool(dtype: Any) -> Spool:
                made = Spool(self.folder, dtype)
                opened.callback(made.close)
                return made

            document_rows, document_shard = spool("<i8"), spool("<i4")
            known, counted = self._make_runs(runs, capacity, document_rows, document_shard)
            words = opened.enter_context(WordRuns(self.folder, self.memory))
            words.collect(self.features, self._check)
            row = row_dtype(self.features.shape[0])
            summaries = {"histogram": spool(row), "top_rows": spool("<i8"), "top_values": spool("<f4")}
            self._write(file, runs, words, capacity, known, counted, document_rows, document_shard, summaries)

    def _make_runs(
        self, runs: Runs, capacity: int, document_rows: Spool, document_shard: Spool
    ) -> tuple[AnyArray, Counted]:
        """Go through all shards; return what is known of each feature, TALLY [F], and how many rows count."""
        known = np.zeros(self.features.shape[1], TALLY)
        known["last_document"] = -1
        stretch, counted = _Stretch(capacity, known, runs), Counted()
        documents = DocumentCounter()
        nnz = 0
        for block in blocks(self.features.files, min(capacity, BLOCK_ENTRIES)):
            self._step(nnz)
            first_row = int(self.features.first_rows[block.shard]) + block.first_row
            numbers, begins = documents.number(block.shard, block.said, block.n_rows)
            document_rows.append(begins + first_row)
            document_shard.append(np.full(len(begins), block.shard))
            counts = np.ones(block.n_rows, np.bool_) if block.counts is None else block.counts
            counted.add(numbers[counts])
            stretch.add(block, first_row, numbers, counts)
            nnz += block.nnz
        stretch.finish()
        document_rows.append(np.array([self.features.shape[0]]))
        return known, counted

    def _write(
        self,
        file: BinaryIO,
        runs: Runs,
        words: WordRuns,
        capacity: int,
        known: AnyArray,
        counted: Counted,
        document_rows: Spool,
        document_shard: Spool,
        summaries: dict[str, Spool],
    ) -> None:
        n_rows, width = shape = self.features.shape
        row = row_dtype(n_rows)
        indptr = np.zeros(width + 1, "<i8")
        np.cumsum(known["count"], out=indptr[1:])
        nnz = int(indptr[-1])
        ranges = split(indptr, capacity, max(1, self.memory // 4 // _BYTES_PER_FEATURE))
        counts = {"rows": n_rows, "rows_counted": counted.n_rows, "excluded": self.features.excluded(), "nnz": nnz}
        counts |= {"n_documents": document_shard.count, "n_documents_counted": counted.n_documents}
        meta = describe(self.features.files, counts)
        told = np.frombuffer(json.dumps(meta, sort_keys=True).encode(), np.uint8)
        if len(told) > MAX_META_BYTES:
            raise EncoderError(f"{self.folder}: has too many features files for one index ({self.features.n_shards:,})")
        with zipfile.ZipFile(file, "w") as archive:

            def member(name: str, dtype: Any, of: tuple[int, ...], parts: Any) -> None:
                write_member(archive, file, name, np.dtype(dtype).str, of, parts)

            member("format", "|S3", (), [b"csc"])
            member("shape", "<i8", (2,), [np.array(shape, "<i8").data])
            member("meta", "|u1", told.shape, [told.data])
            member("indptr", "<i8", indptr.shape, [indptr.data])
            member("indices", row, (nnz,), self._rows(runs, indptr, ranges))
            member("data", "<f4", (nnz,), self._values(runs, indptr, ranges, known, summaries))
            for name, dtype in (("max", "<f4"), ("min", "<f4"), ("sum", "<f8"), ("n_documents", "<i8")):
                member(name, dtype, (width,), [np.ascontiguousarray(known[name], dtype).data])
            for name, n in (("histogram", N_BINS), ("top_rows", N_TOP), ("top_values", N_TOP)):
                member(name, summaries[name].dtype, (width, n), summaries[name].parts())
            member("document_rows", "<i8", (document_rows.count,), document_rows.parts())
            member("document_shard", "<i4", (document_shard.count,), document_shard.parts())
            for spec in words.members(row, self._check):
                member(*spec)

    def _rows(self, runs: Runs, indptr: I64, ranges: list[tuple[int, int]]) -> Iterator[Any]:
        done = self.features.nnz
        for part in runs.rows(indptr, ranges, row_dtype(self.features.shape[0])):
            self._step(done)
            yield part.entries.data
            done += len(part.entries)

    def _values(
        self,
        runs: Runs,
        indptr: I64,
        ranges: list[tuple[int, int]],
        known: AnyArray,
        summaries: dict[str, Spool],
    ) -> Iterator[Any]:
        """Yield the values, and sum up each feature on the way."""
        done, row = self.features.nnz + int(indptr[-1]), row_dtype(self.features.shape[0])
        state: tuple[AnyArray, AnyArray, AnyArray] | None = None
        for rows, part in zip(runs.rows(indptr, ranges, row), runs.values(indptr, ranges), strict=True):
            self._step(done)
            if state is None:
                n = part.stop - part.start
                tops = np.full((n, N_TOP), -1, "<i8"), np.zeros((n, N_TOP), "<f4")
                state = np.zeros((n, N_BINS), row), *tops
            bounds = (np.ascontiguousarray(known[name][part.start : part.stop]) for name in ("max", "min"))
            summarise(part.bounds, rows.entries, part.entries, *bounds, *state)
            if part.is_last:
                for name, array in zip(("histogram", "top_rows", "top_values"), state, strict=True):
                    summaries[name].append(array)
                state = None
            yield part.entries.data
            done += len(part.entries)

    def _check(self) -> None:
        if self.stopping():
            raise Stopped

    def _step(self, done: int) -> None:
        self._check()
        self.watch(done, _STEPS * self.features.nnz)


class _Stretch:
    """The blocks that will be the next run: collected by row, written by feature when no more of them fit."""

    def __init__(self, capacity: int, known: AnyArray, runs: Runs) -> None:
        self._columns, self._values = np.empty(capacity, "<i4"), np.empty(capacity, "<f4")
        self._lengths = np.empty(max(capacity, BLOCK_ROWS), "<i4")
        self._rows_out, self._values_out = np.empty(capacity, "<i4"), np.empty(capacity, "<f4")
        self._known, self._runs = known, runs
        self._n_before = np.zeros(len(known), np.int64)
        self._n_rows = self._nnz = self._first_row = 0

    def add(self, block: Block, first_row: int, documents: I64, counts: Bool) -> None:
        """Take the rows that count. Raises: ShardError if the block breaks the format."""
        if self._nnz + block.nnz > len(self._columns) or self._n_rows + block.n_rows > len(self._lengths):
            self.finish()
        if self._n_rows == 0:
            self._first_row = first_row
        columns = self._columns[self._nnz : self._nnz + block.nnz]
        values = self._values[self._nnz : self._nnz + block.nnz]
        lengths = self._lengths[self._n_rows : self._n_rows + block.n_rows]
        lengths[:] = np.diff(block.bounds)
        block.read(columns, values)
        if tally(lengths, columns, values, documents, counts, self._known) >= 0:
            self._refuse(block, columns, values)
        n_kept = block.nnz
        if not counts.all():
            is_kept = np.repeat(counts, lengths)
            n_kept = int(is_kept.sum())
            columns[:n_kept], values[:n_kept] = columns[is_kept], values[is_kept]
            lengths[~counts] = 0
        self._n_rows += block.n_rows
        self._nnz += n_kept

    def _refuse(self, block: Block, columns: I32, values: F32) -> None:
        width = len(self._known)
        check(Csr(block.bounds - block.bounds[0], columns, values, (block.n_rows, width)), str(block.file.path))
        raise ShardError(f"{block.file.path}: breaks the format; encode its shard again")

    def finish(self) -> None:
        """Write what was collected as a run."""
        if self._nnz:
            counts = self._known["count"] - self._n_before
            bounds = np.zeros(len(counts) + 1, np.int64)
            np.cumsum(counts, out=bounds[1:])
            cursors = bounds[:-1].copy()
            rows, values = self._rows_out[: self._nnz], self._values_out[: self._nnz]
            lengths = self._lengths[: self._n_rows]
            transpose(lengths, self._columns, self._values, cursors, rows, values)
            self._runs.add(self._first_row, bounds, rows, values)
            self._n_before += counts
        self._n_rows = self._nnz = 0
