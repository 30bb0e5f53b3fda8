"""activault: <run>/<hook>/metadata.json and <uuid>--<n>_<job>.saved.pt = {"states": [b, s, d], "input_ids": [b, s]}.

`metadata.json` gives "dtype" as a string such as "torch.float16" (activault evaluates it; here it is compared), "d_in"
and "sequence_length". How many contexts a file has is not compared: its "shape" is that of one batch until the first
upload and that of a whole file after it, and a fork that writes to disk also keeps the last, incomplete file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from encoder.errors import ShardError
from encoder.readers.arrays import Array
from encoder.readers.assemble import shard_of
from encoder.readers.companions import mask_beside
from encoder.readers.side_json import count, read_json
from encoder.readers.source import Source
from encoder.shard import Shard

NAME = "activault"
METADATA = "metadata.json"
_FILE = re.compile(r"(.+)--([0-9]+)(?:_([0-9]+))?(?:\.saved)?\.pt")


def claims(source: Source) -> bool:
    return source.has_arrays("states", "input_ids")


def open_shard(source: Source) -> Shard:
    source.allow_select()
    rows, ids = (source.contents[name] for name in ("states", "input_ids"))
    metadata = source.path.parent / METADATA
    hook_name = ""
    if metadata.is_file():
        _check_against(read_json(metadata), metadata, rows, source)
        hook_name = source.path.parent.name
    mask, notes = mask_beside(source.arrays, "states", ids.shape)
    return shard_of(source, rows, "'states'", ids=ids, mask=mask, hook_name=hook_name, notes=notes, is_plain=True)


def data_files(folder: Path) -> list[Path] | None:
    """List the uploads by their number, then by job and id; None if this is not such a folder."""
    if not (folder / METADATA).is_file():
        return None
    found = [(match, path) for path in folder.iterdir() if (match := _FILE.fullmatch(path.name))]
    found.sort(key=lambda item: (int(item[0][2]), int(item[0][3] or 0), item[1].name))
    return [path for _, path in found] or None


def _check_against(metadata: dict[str, Any], path: Path, rows: Array, source: Source) -> None:
    dtype = str(metadata.get("dtype", rows.dtype)).removeprefix("torch.")
    d_in = metadata.get("d_in", rows.width)
    if dtype != rows.dtype or d_in != rows.width:
        raise ShardError(
            f"{source.path}: holds {rows.describe()}, but {path.name} says {dtype[:40]} of width {str(d_in)[:40]};"
            f" files of different runs in one folder?"
        )
    length = count(metadata.get("sequence_length", rows.lead[-1]), "sequence_length", path)
    if length != rows.lead[-1]:
        raise ShardError(
            f"{source.path}: holds {rows.describe()}, but {path.name} says contexts of {length} tokens;"
            f" files of different runs in one folder?"
        )
