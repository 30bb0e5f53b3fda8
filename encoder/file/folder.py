"""All features files of a folder as one sparse matrix: rows of the first file, then of the second, in order of name.

    f = open_features("features/")
    f.shape, f.nnz, len(f)      rows and width, stored values, rows
    f[5], f[-3:], f[[7, 2, 7]]  -> scipy CSR [n, F] float32, the rows in the order asked for; a boolean mask works too
    f.shard(i), for s in f      -> scipy CSR [T, F] of one file, its columns (and float32 values) still on disk
    f.meta[i], f.paths[i]       what its `meta` says, where it is
    f.tokens(i)                 token ids, texts, documents and positions of its rows
    f.counts(i)                 which of its rows count, bool [T]; f.reasons(i) says why others do not
    f.excluded()                -> how many rows do not count, by reason; f.excluded(i) of one file
    f.array(i, "indptr")        one of its arrays, still on disk
    f.locate(row)               -> (i, row within shard i)

Only headers are read when a folder is opened, and at most MAX_LOADED files are held at a time. A result of `shard`
keeps its file mapped, and before Python 3.13 a map keeps a descriptor: do not hold hundreds of them. Safe for several
threads.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from encoder.arrays import F32, I32, I64, U8, AnyArray, Bool
from encoder.errors import EncoderError, MismatchError
from encoder.file.feature_file import FeatureFile, LoadedFile, open_files
from encoder.file.sae_folders import SaeName, check_name, find_folder
from encoder.rows import REASONS, by_reason
from encoder.stores.object_path import ObjectPath, path_of

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from encoder.shard import Tokens


MAX_LOADED = 64


def open_features(folder: str | Path, sae: SaeName | None = None) -> Features:
    """Open a folder of features files, or one file; of a folder with the features of several SAEs, those of `sae`.

    `sae` is an id, (release, id), the name of the SAE's folder, or a part or pattern that fits only one of these.
    Raises: EncoderError if there are none or one is damaged, or there are several SAEs and `sae` does not say which, or
    features of another one; MismatchError if they come from different SAEs.
    """
    path = path_of(folder)
    if isinstance(path, ObjectPath):
        path.tree.forget()  # there may be more by now
    path = find_folder(path, sae)
    try:
        paths = [path] if path.is_file() else sorted(path.glob("*.npz"))
        if not paths:
            raise EncoderError(f"{path}: has no features files (*.npz); `sae-encode run --out {path}` makes them")
        files = open_files(paths)
    except OSError as exc:
        raise EncoderError(f"{exc.filename or path}: {exc.strerror}") from exc
    first = files[0]
    if sae is not None:
        check_name(path, first.meta, sae)
    for file in files[1:]:
        if file.shape[1] != first.shape[1] or _weights(file) != _weights(first):
            raise MismatchError(
                f"{first.path.name} and {file.path.name} in {path} come from different SAEs "
                f"({_describe(first)}; {_describe(file)}); keep them in separate folders"
            )
    return Features(files)


def _weights(file: FeatureFile) -> Any:
    return file.meta.get("weights_sha256")


def _describe(file: FeatureFile) -> str:
    return f"{file.meta.get('sae_id') or 'SAE'}, width {file.shape[1]}, weights {str(_weights(file))[:12]}"


class Features:
    """A row-concatenated CSR [T, F] over files; see the module."""

    def __init__(self, files: list[FeatureFile]) -> None:
        self._files = files
        self._loaded: OrderedDict[int, LoadedFile] | None = OrderedDict()
        self._lock = threading.Lock()
        self._starts: I64 = np.cumsum([0, *(file.shape[0] for file in files)], dtype=np.int64)
        self.shape = int(self._starts[-1]), files[0].shape[1]
        self.nnz = sum(file.nnz for file in files)
        self.n_shards = len(files)

    @property
    def meta(self) -> list[dict[str, Any]]:
        return [file.meta for file in self._files]

    @property
    def paths(self) -> list[Path]:
        return [file.path for file in self._files]

    @property
    def first_rows(self) -> I64:
        """Return the row at which each shard begins, and the number of rows: int64 [n_shards + 1]."""
        return self._starts

    @property
    def files(self) -> list[FeatureFile]:
        """Return what the headers of each file say."""
        return self._files

    def __repr__(self) -> str:
        return f"<Features {self.shape[0]} x {self.shape[1]}, {self.nnz} stored, {self.n_shards} shards>"

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[csr_matrix]:
        return (self.shard(i) for i in range(self.n_shards))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files. What was taken from them stays valid."""
        with self._lock:
            self._loaded = None

    def shard(self, i: int) -> csr_matrix:
        """Return the rows of one file without copying the columns. Raises ShardError if they are damaged."""
        from scipy.sparse import csr_matrix  # takes as long as all else here: a summary has no use for it

        indptr, indices, data = self.arrays(i)
        return csr_matrix((data, indices, indptr), shape=(len(indptr) - 1, self.shape[1]), copy=False)

    def arrays(self, i: int) -> tuple[I64, I32, F32]:
        """Return indptr, indices and data of one file's rows, as `shard` has them. Raises ShardError likewise."""
        return self._load(i).whole()

    def tokens(self, i: int, start: int = 0, stop: int | None = None) -> Tokens:
        """Return what the i-th file says of its rows [start, stop); negative numbers count from its end."""
        loaded = self._load(i)
        start, stop, _ = slice(start, stop).indices(loaded.file.shape[0])
        return loaded.tokens(start, max(start, stop))

    def counts(self, i: int, start: int = 0, stop: int | None = None) -> Bool:
        """Say which rows of [start, stop) of the i-th file count: bool [stop - start]."""
        loaded = self._load(i)
        start, stop, _ = slice(start, stop).indices(loaded.file.shape[0])
        return loaded.counts(start, max(start, stop))

    def reasons(self, i: int, start: int = 0, stop: int | None = None) -> U8:
        """Say why rows do not count: uint8, the number of a reason in `encoder.rows.REASONS`, from 1; 0 if they do."""
        loaded = self._load(i)
        start, stop, _ = slice(start, stop).indices(loaded.file.shape[0])
        return loaded.reasons(start, max(start, stop))

    def excluded(self, i: int | None = None) -> dict[str, int]:
        """Count the rows of the i-th file, or of all files, that do not count, by reason."""
        shards = range(self.n_shards) if i is None else [i]
        found = [by_reason(self.reasons(shard)) for shard in shards]
        return {reason: sum(one[reason] for one in found) for reason in REASONS}

    def array(self, i: int, name: str) -> AnyArray | None:
        """Return an array of the i-th file as it is on disk, unchecked; None if the file has none of that name."""
        return self._load(i).arrays.get(name)

    def locate(self, row: int) -> tuple[int, int]:
        """Return the shard that has the row, and the row's number in it."""
        numbers = self._numbers(row)
        (i,) = self._shards_of(numbers)
        return int(i), int(numbers[0] - self._starts[i])

    def _shards_of(self, rows: I64) -> I64:
        """Return the shard that has each row; shards without rows have none."""
        found: I64 = np.searchsorted(self._starts, rows, side="right") - 1
        return found

    def __getitem__(self, rows: Any) -> csr_matrix:
        """Copy rows: an int, a slice, a list or array of ints, or a boolean mask of all rows -> [n, F] float32."""
        wanted = self._numbers(rows)
        shards = self._shards_of(wanted)
        order = np.argsort(shards, kind="stable")
        edges = np.flatnonzero(np.diff(shards[order])) + 1
        groups = [group for group in np.split(order, edges) if len(group)]
        parts = [(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))]
        for group in groups:
            i = int(shards[group[0]])
            parts.append(self._load(i).gather(wanted[group] - self._starts[i]))
        lengths, columns, values = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        indptr = np.zeros(len(wanted) + 1, np.int64)
        np.cumsum(lengths, out=indptr[1:])
        from scipy.sparse import csr_matrix

        taken = csr_matrix((values, columns, indptr), shape=(len(wanted), self.shape[1]), copy=False)
        return taken if (np.diff(order) == 1).all() else taken[np.argsort(order)]

    def _numbers(self, rows: Any) -> I64:
        if isinstance(rows, slice):
            return np.arange(*rows.indices(self.shape[0]), dtype=np.int64)
        asked = np.asarray(rows)
        if asked.size == 0 and asked.ndim == 1 and asked.dtype != np.bool_:
            return np.zeros(0, np.int64)
        if asked.ndim > 1 or asked.dtype.kind not in "iub" or (asked.ndim == 0 and asked.dtype.kind == "b"):
            raise IndexError("rows are an int, a slice, a list of ints or a boolean mask of one dimension")
        if asked.dtype.kind == "b":
            if len(asked) != self.shape[0]:
                raise IndexError(f"a mask of {len(asked)} for {self.shape[0]} rows")
            return np.flatnonzero(asked)
        if ((asked < -self.shape[0]) | (asked >= self.shape[0])).any():
            raise IndexError(f"a row outside the {self.shape[0]} rows")
        numbers = np.atleast_1d(asked.astype(np.int64))
        return np.where(numbers < 0, numbers + self.shape[0], numbers)

    def _load(self, i: int) -> LoadedFile:
        if not -self.n_shards <= i < self.n_shards:
            raise IndexError(f"shard {i} of {self.n_shards}")
        i %= self.n_shards
        with self._lock:
            if self._loaded is None:
                raise EncoderError("the features are closed")
            loaded = self._loaded.pop(i, None)
            if loaded is None:
                try:
                    loaded = self._files[i].load()
                except OSError as exc:
                    raise EncoderError(f"{self._files[i].path}: cannot be opened any more: {exc.strerror}") from exc
            self._loaded[i] = loaded
            if len(self._loaded) > MAX_LOADED:
                self._loaded.popitem(last=False)
        return loaded
