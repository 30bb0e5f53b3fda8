"""dictionary_learning's activation cache (the fork that stores memmaps).

    <store>/tokens.pt, sequence_ranges.pt                  int64, over all shards of a submodule; optional
    <store>/<submodule>_<io>/shard_<i>.memmap, shard_<i>.meta {"shape": [n, d], "dtype": "torch.bfloat16"}
    <store>/<submodule>_<io>/config.json, mean.pt, std.pt, ...

bfloat16 is stored as an int16 view; without "dtype" it is float32, all that the original writes. The original's
`config.json` misses the last, partial shard, so the files are listed instead. `sequence_ranges` holds where each
document starts, and the end. Tokens are in the order of the text, so they are not those of a store of shuffled shards.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from encoder.errors import ShardError
from encoder.readers.arrays import ON_DISK, Array, array_in_file
from encoder.readers.assemble import finished
from encoder.readers.axes import plain_rows
from encoder.readers.containers import HEAD_BYTES, loader_of
from encoder.readers.side_json import count, read_json
from encoder.readers.source import Source
from encoder.shard import Shard, Tokens

NAME = "dictionary_learning memmap stores"
SUFFIX = ".memmap"
SIDE_FILES = ("tokens.pt", "sequence_ranges.pt")
_SHARD = re.compile(r"shard_([0-9]+)\.memmap")


def claims(source: Source) -> bool:
    return source.path.suffix == SUFFIX and source.path.with_suffix(".meta").is_file()


def open_shard(source: Source) -> Shard:
    source.allow_select()
    shape, dtype = _meta(source.path)
    rows = array_in_file(source.path, (0, source.size), shape, dtype, what="the store's .meta")
    rows = plain_rows(rows, "the memmap", source)
    if rows.n_rows * rows.width * ON_DISK[dtype].itemsize != source.size:
        raise ShardError(f"{source.path}: .meta says {rows.describe()}, but the file has {source.size} bytes")
    store = _store(source)
    folder = source.path.parent
    hook_name = folder.name if store is None else folder.resolve().relative_to(store).as_posix()
    tokens = Tokens if store is None else _tokens(store, source.path, rows.n_rows)
    return finished(source, rows.n_rows, rows.width, rows.dtype, rows.read, tokens, hook_name)


def data_files(folder: Path) -> list[Path] | None:
    """List the shards by their number, or None if the folder has none."""
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := _SHARD.fullmatch(path.name))]
    return [path for _, path in sorted(found)] or None


def _meta(path: Path) -> tuple[list[Any], str]:
    meta_path = path.with_suffix(".meta")
    meta = read_json(meta_path)
    shape = meta.get("shape")
    if not isinstance(shape, list) or len(shape) != 2:
        raise ShardError(f"{meta_path}: shape is {str(shape)[:80]}, expected [rows, d]")
    return shape, str(meta.get("dtype", "float32")).removeprefix("torch.")


def _tokens(store: Path, path: Path, n_rows: int) -> Callable[[], Tokens]:
    """Find this shard's part of the store's tokens; sizes are checked now, ids are read when asked for."""
    folder, match = path.parent, _SHARD.fullmatch(path.name)
    config_path = folder / "config.json"
    config = read_json(config_path) if config_path.is_file() else {}
    if match is None or config.get("store_tokens") is False or config.get("shuffle_shards") is True:
        return Tokens
    ids = _vector(store / "tokens.pt") if (store / "tokens.pt").is_file() else None
    before, total = _place(path, int(match[1]), n_rows)
    if ids is not None and ids.shape[0] != total:
        raise ShardError(
            f"{store / 'tokens.pt'}: {ids.shape[0]} tokens, but the shards in {folder.name} have {total} rows; a shard"
            f" is missing, or these are another run's tokens: move tokens.pt away to encode without them"
        )
    ranges_path = store / "sequence_ranges.pt"
    has_ranges = ranges_path.is_file() and config.get("store_sequence_ranges") is not False
    ranges = _vector(ranges_path) if has_ranges else None

    def tokens() -> Tokens:
        stop = before + n_rows
        token_ids = None if ids is None else ids.integers(before, stop)
        if ranges is None:
            return Tokens(token_ids=token_ids)
        starts = ranges.integers()
        if starts.size < 2 or starts[0] != 0 or starts[-1] != total or np.any(np.diff(starts) < 0):
            raise ShardError(
                f"{ranges_path}: got {starts[:3]}...{starts[-3:]}, expected starts from 0 up to {total}; another run's?"
                f" move it away to encode without documents"
            )
        index = np.arange(before, stop, dtype=np.int64)
        document = np.searchsorted(starts, index, side="right").astype(np.int64) - 1
        position = index - starts[document]
        return Tokens(
            token_ids=token_ids,
            row_document=document - (document[0] if document.size else 0),
            row_position=position,
        )

    return tokens


def _store(source: Source) -> Path | None:
    """Find the folder with the side files: the parent, or, as a submodule's name may have slashes, up to the root."""
    for folder in source.path.parent.resolve().parents:
        if any((folder / name).is_file() for name in SIDE_FILES):
            return folder
        if source.root is None or folder == source.root.resolve() or source.root.resolve() not in folder.parents:
            return None
    return None


def _place(path: Path, number: int, n_rows: int) -> tuple[int, int]:
    """Count the rows of the shards before this one, and of all."""
    before = total = 0
    for other in data_files(path.parent) or ():
        n = n_rows if other == path else count(_meta(other)[0][0], "shape", other)
        match = _SHARD.fullmatch(other.name)
        before += n if match and int(match[1]) < number else 0
        total += n
    return before, total


def _vector(path: Path) -> Array:
    with path.open("rb") as file:
        load = loader_of(path, file.read(HEAD_BYTES), path.stat().st_size)
    if load is None:
        raise ShardError(f"{path}: not a torch file")
    loaded = load()
    if not isinstance(loaded, Array) or loaded.is_float or len(loaded.shape) != 1:
        got = loaded.describe() if isinstance(loaded, Array) else type(loaded).__name__
        raise ShardError(f"{path}: expected one vector of integers, got {got}; move it away to encode without it")
    return loaded
