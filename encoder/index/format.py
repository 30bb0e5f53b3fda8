"""`<folder>/features.csc`: the features files of a folder, by feature.

An uncompressed npz as the features files are, so numpy opens it and `scipy.sparse.load_npz` makes a CSC [T, F] of it;
it is not called .npz, so that nobody takes it for a shard. It has the values of rows that count (see `encoder.rows`),
and all rows keep their numbers. Members, in this order:

    format          S3       "csc"
    shape           int64    [2]       T, F
    meta            uint8    [...]     JSON: {"version", "rows", "rows_counted", "excluded": {reason: rows}, "nnz",
                                       "n_documents", "n_documents_counted", "shards": [identity of each]}
    indptr          int64    [F + 1]
    indices         row      [nnz]     global rows, ascending within a feature
    data            float32  [nnz]
    max             float32  [F]       the value of the largest magnitude, with its sign; 0 for a dead feature
    min             float32  [F]       the smallest value; 0 for a dead feature
    sum             float64  [F]       added up in the order of rows
    n_documents     int64    [F]       documents in which it fires
    histogram       row      [F, 32]   values in 32 equal bins of [0, max]; of [-|max|, |max|] if some are negative
    top_rows        int64    [F, 64]   where its magnitude is largest, of equal ones the lower row first; -1 for none
    top_values      float32  [F, 64]   0 for none
    document_rows   int64    [n + 1]   the global row at which each document begins, and T
    document_shard  int32    [n]       the shard that has it
    words           uint8    [bytes]   the texts of tokens and words (see words.py), UTF-8, in the order of their bytes
    word_offsets    int64    [W + 1]   text i is the bytes [offsets[i], offsets[i + 1])
    word_indptr     int64    [W + 1]
    word_rows       row      [m]       rows that count on which a text stands, ascending within a text

"row" is int32 while T < 2^31, else int64. `encoder.file.documents` says what a document is. T rows of all files in
order of name, F = d_sae.

The identity of a shard is its name and what its headers say, so whether the index is of the shards that are there
costs their headers. Equal shards give equal bytes, whatever memory there was.

Beside features at an address the index is called `features-<digest of its shards>.csc`, and is created if absent.

An index of version 1 is older: rows that do not count are among its values, it has no `min`, what is strongest goes by
value and negative values are in the histogram's first bin. It is still read, and `older` counts anew what it says.
An index without the four members on words is read, too; `sae-encode index` makes it anew.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from encoder.arrays import AnyArray
from encoder.errors import EncoderError
from encoder.file.feature_file import FeatureFile
from encoder.file.folder import Features, open_features
from encoder.file.npz import Member, find_members
from encoder.file.range_array import RangeArray
from encoder.file.sae_folders import SaeName, find_folder
from encoder.stores.object_path import ObjectFile, ObjectPath, path_of

State = Literal["ready", "missing", "stale", "older"]

NAME = "features.csc"
VERSION = 2
OLDER = 1
N_BINS = 32
N_TOP = 64
MAX_META_BYTES = 1 << 26
KEPT_BYTES = 64 << 20
"""An array of an index at an address stays in memory up to this size, once all of it was asked for."""
_MEMBERS = (
    *("format", "shape", "meta", "indptr", "indices", "data", "max", "min", "sum", "n_documents"),
    *("histogram", "top_rows", "top_values", "document_rows", "document_shard"),
)

WORD_MEMBERS = ("words", "word_offsets", "word_indptr", "word_rows")

LARGE = {"indices", "data", "histogram", "top_rows", "top_values", "word_rows"}
"""What is read a part at a time, where the index is at an address."""
COUNTED = {"max", "min", "sum", "n_documents", "histogram", "top_rows", "top_values"}
"""What is counted anew where the index is older."""


@dataclass(frozen=True, slots=True)
class IndexFile:
    """What the headers say, and the arrays, views of the file; what is in them is not checked yet.

    `features` is the folder of the features files, which is another one than that of `path` where the user said so.
    """

    path: Path
    features: Path
    shape: tuple[int, int]
    meta: dict[str, Any]
    arrays: Mapping[str, AnyArray]

    @property
    def has_words(self) -> bool:
        return "words" in self.arrays


def row_dtype(n_rows: int) -> np.dtype[Any]:
    """Return the dtype of row numbers and of counts of rows."""
    return np.dtype("<i4" if n_rows < 1 << 31 else "<i8")


def describe(files: Iterable[FeatureFile], counts: Mapping[str, Any]) -> dict[str, Any]:
    """Make the index's `meta`."""
    return {"version": VERSION, **counts, "shards": [identity(file) for file in files]}


def identity(file: FeatureFile) -> dict[str, Any]:
    """Say which features file it is, by what its headers say."""
    told = hashlib.sha256(json.dumps(file.meta, sort_keys=True).encode()).hexdigest()
    hashes = {name: file.meta.get(name) for name in ("shard_sha256", "weights_sha256")}
    return {"name": file.path.name, "rows": file.shape[0], "nnz": file.nnz, **hashes, "meta_sha256": told}


def place_of(folder: Path, index: Path | None = None, sae: SaeName | None = None) -> tuple[Path, Path]:
    """Return the folder of an SAE's features, and where its index is: there, or below the folder `index`.

    Below `index` the folders of several SAEs are called as below `folder`. Raises: EncoderError, as `find_folder` does.
    """
    if isinstance(folder, ObjectPath):
        folder.tree.forget()
    of_sae = find_folder(folder, sae)
    if index is None and isinstance(of_sae, ObjectPath):
        with open_features(of_sae) as features:
            return of_sae, path_beside(of_sae, features)
    if index is None:
        return of_sae, of_sae / NAME
    return of_sae, (index / of_sae.relative_to(folder) if of_sae != folder else index) / NAME


def path_beside(folder: Path, features: Features) -> Path:
    """Return where the index of a folder's features is, beside them.

    At an address nothing is written over, so the name has the digest of the shards: other shards, another index.
    """
    if not isinstance(folder, ObjectPath):
        return folder / NAME
    told = json.dumps([VERSION, *map(identity, features.files)], sort_keys=True)
    return folder / f"features-{hashlib.sha256(told.encode()).hexdigest()[:16]}.csc"


def index_state(folder: str | Path, *, sae: SaeName | None = None, index: str | Path | None = None) -> State:
    """Say whether the folder has an index, and of the features files that are there. Reads headers only.

    `sae` and `index` are those of `open_index`. Raises: EncoderError if the index or a features file is damaged, or
    there are no features files.
    """
    of_sae, path = place_of(path_of(folder), None if index is None else path_of(index), sae)
    if not path.exists():
        return "missing"
    with open_features(of_sae) as features:
        return state_of(open_index_file(path, of_sae), features)


def state_of(index: IndexFile, features: Features) -> State:
    """Say whether the index was made of these features files, and whether by this version."""
    files, known = features.files, index.meta.get("shards")
    is_of_these = (
        index.shape == features.shape
        and isinstance(known, list)
        and len(known) == len(files)
        and all(one == identity(file) for one, file in zip(known, files, strict=True))
    )
    if not is_of_these or index.meta.get("version") not in (VERSION, OLDER):
        return "stale"
    return "ready" if index.meta["version"] == VERSION else "older"


def open_index_file(path: Path, features: Path) -> IndexFile:
    """Read and check the headers and map the arrays; `features` is the folder of the features files.

    Raises: EncoderError, in one line, if there is none or it is not a whole index.
    """
    try:
        with path.open("rb") as file:
            found = find_members(path, file, (*_MEMBERS, *WORD_MEMBERS), again(path, features))
            wanted = (*_MEMBERS, *WORD_MEMBERS) if found.keys() & set(WORD_MEMBERS) else _MEMBERS
            if missing := [name for name in wanted if name not in found and name != "min"]:
                raise _refusal(path, features, f"has no {' and no '.join(missing)}")
            if found["shape"].dtype != "<i8" or found["shape"].shape != (2,):
                raise _refusal(path, features, "its shape has another dtype")
            told = found["meta"]
            if told.dtype != "|u1" or len(told.shape) != 1 or told.shape[0] > MAX_META_BYTES:
                raise _refusal(path, features, f"its meta is {told.dtype} {list(told.shape)}")
            taken = _takers(path, file)
    except FileNotFoundError as exc:
        raise EncoderError(f"{path.parent}: has no index; `{command(path, features)}` makes it") from exc
    except OSError as exc:
        raise EncoderError(f"{path}: cannot be read: {exc.strerror}") from exc
    rows, width = (int(n) for n in np.asarray(taken(found["shape"])))
    try:
        meta = json.loads(np.asarray(taken(found["meta"])).tobytes())
    except (ValueError, RecursionError) as exc:
        raise _refusal(path, features, "its meta is not JSON") from exc
    if not isinstance(meta, dict):
        raise _refusal(path, features, "its meta is not a JSON object")
    if "min" not in found and meta.get("version") != OLDER:
        raise _refusal(path, features, "has no min")
    if not (rows >= 0 and 0 <= width < 1 << 31):
        raise _refusal(path, features, f"its shape is [{rows}, {width}]")
    _check_headers(path, features, rows, width, found)
    arrays = {name: taken(member) for name, member in found.items() if name not in ("format", "shape", "meta")}
    if "words" in arrays and not len(arrays["word_offsets"]):
        raise _refusal(path, features, "its word_offsets are empty")
    return IndexFile(path, features, (rows, width), meta, arrays)


def _takers(path: Path, file: Any) -> Callable[[Member], AnyArray]:
    """Return what gives the array of a member: a view of the map, or of an object an array that is read by ranges."""
    if isinstance(file, ObjectFile):
        ranges = file.path.tree.small_ranges(file.entry)
        return lambda member: cast(AnyArray, RangeArray(ranges, member, KEPT_BYTES))
    buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return lambda member: member.of(buffer)


def _check_headers(path: Path, features: Path, rows: int, width: int, found: Mapping[str, Member]) -> None:
    """Raises: EncoderError unless the arrays have the dtypes and shapes above."""
    row = row_dtype(rows)
    nnz, n_documents = found["indices"].shape[:1], found["document_shard"].shape[:1]
    n_top = found["top_rows"].shape[1:2] or (N_TOP,)
    expected: dict[str, tuple[Any, tuple[int, ...]]] = {
        "indptr": ("<i8", (width + 1,)),
        "indices": (row, nnz),
        "data": ("<f4", nnz),
        "max": ("<f4", (width,)),
        "min": ("<f4", (width,)),
        "sum": ("<f8", (width,)),
        "n_documents": ("<i8", (width,)),
        "histogram": (row, (width, N_BINS)),
        "top_rows": ("<i8", (width, *n_top)),
        "top_values": ("<f4", (width, *n_top)),
        "document_rows": ("<i8", tuple(n + 1 for n in n_documents)),
        "document_shard": ("<i4", n_documents),
    }
    if "words" in found:
        bounds = found["word_offsets"].shape[:1]
        expected |= {"words": ("|u1", found["words"].shape[:1]), "word_rows": (row, found["word_rows"].shape[:1])}
        expected |= {"word_offsets": ("<i8", bounds), "word_indptr": ("<i8", bounds)}
    for name, (dtype, shape) in expected.items():
        if name not in found:  # an older index has fewer members
            continue
        got = found[name]
        if got.dtype != dtype or got.shape != shape or (name != "indptr" and not shape):
            why = f"its {name} is {got.dtype} {list(got.shape)} for a shape of [{rows}, {width}]"
            raise _refusal(path, features, why)


def _refusal(path: Path, features: Path, why: str) -> EncoderError:
    return EncoderError(f"{path}: {why}; it is not an index of sae-encode, or is damaged; {again(path, features)}")


def again(path: Path, features: Path) -> str:
    """Say how to mend a damaged index."""
    return f"remove it and run `{command(path, features)}`"


def command(path: Path, features: Path) -> str:
    """Return the command that makes an index."""
    out = "" if path.parent == features else f" --out {path.parent}"
    return f"sae-encode index {features}{out}"
