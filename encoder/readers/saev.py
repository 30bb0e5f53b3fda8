"""saev: <hash>/metadata.json, shards.json [{"name", "n_examples"}] and acts%06d.bin.

A .bin is raw C-order float32 [example, layer, token, d] and has no header. saev makes every file as large as a full
shard, so the last one goes on after its `n_examples`; other tools cut it. `metadata.json` may embed a pickle of the
dataset ("data"): it is never looked at. The names have changed with each protocol; shards.json came with the second.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from encoder.errors import ShardError
from encoder.readers.arrays import array_in_file
from encoder.readers.assemble import shard_of
from encoder.readers.resolve import Offer, places_of, resolve
from encoder.readers.select import choose_label
from encoder.readers.side_json import count, read_json, read_json_list
from encoder.readers.source import Source, printable
from encoder.shard import Shard

NAME = "saev"
INDEX = "shards.json"
_FILE = re.compile(r"acts([0-9]+)\.bin")
# The newest name first; the last ones are those of release 0.1.0.
_WIDTH = ("d_model", "d_vit")
_CONTENT_TOKENS = ("content_tokens_per_example", "patches_per_ex", "n_patches_per_img")
_EXAMPLES = ("n_examples", "n_ex", "n_imgs")
_BUDGET = ("max_tokens_per_shard", "patches_per_shard", "max_patches_per_shard", "n_patches_per_shard")


def claims(source: Source) -> bool:
    is_of_saev = source.path.name == INDEX or _FILE.fullmatch(source.path.name) is not None
    return is_of_saev and (source.path.parent / "metadata.json").is_file()


def open_shard(source: Source) -> Shard:
    if source.path.name == INDEX:
        foreign = _index(source.path)[1]
        raise ShardError(
            f"{source.path}: names {printable(foreign)}, expected acts000000.bin and so on, in this folder"
        )
    source.allow_select("layer")
    path = source.path.parent / "metadata.json"
    metadata = read_json(path)
    layers = metadata.get("layers")
    if not isinstance(layers, list) or any(type(layer) is not int for layer in layers):
        raise ShardError(f"{path}: layers is {str(layers)[:80]}, expected a list of integers")
    if (dtype := metadata.get("dtype", "float32")) != "float32":
        raise ShardError(f"{path}: dtype is {str(dtype)[:40]!r}, expected 'float32', the only one that saev writes")
    offers = [Offer(f"layer={one}", f"layer={one}") for one in layers]
    found = None if "layer" in source.select else resolve(offers, source)
    layer = choose_label(layers, "layer", source) if found is None else layers[offers.index(found)]
    d = _count(metadata, _WIDTH, path)
    n_tokens = _count(metadata, _CONTENT_TOKENS, path) + bool(metadata.get("cls_token", False))
    n_examples, full = _n_examples(source.path, metadata, path, n_tokens * len(layers))
    example = len(layers) * n_tokens * d
    if source.size not in (n_examples * example * 4, full * example * 4):
        raise ShardError(
            f"{source.path}: {source.size} bytes, but {n_examples} examples of float32[{len(layers)}, {n_tokens}, {d}]"
            f" need {n_examples * example * 4}, a full shard {full * example * 4}: truncated, or another run's metadata"
        )
    rows = array_in_file(
        source.path, (0, source.size), (n_examples, n_tokens, d), "float32", (example, d, 1),
        what=f"layer {layer}", skip=layers.index(layer) * n_tokens * d if n_examples else 0,
    )  # fmt: skip
    hook_name, places = f"layer={layer}", places_of(offers)
    return shard_of(source, rows, f"layer {layer}", is_plain=True, hook_name=hook_name, places=places)


def data_files(folder: Path) -> list[Path] | None:
    """List the shards that shards.json names, in its order; the .bin files there are, where it is missing.

    Of an index that names other files, the index itself is listed last: to open it is to be told why.
    """
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := _FILE.fullmatch(path.name))]
    if not found or not (folder / "metadata.json").is_file():
        return None
    path = folder / INDEX
    if not path.is_file():
        return [path for _, path in sorted(found)]
    try:
        known, foreign = _index(path)
    except ShardError:
        return [path]
    return [folder / name for name in known] + ([path] if foreign else [])


def _index(path: Path) -> tuple[dict[str, int], list[str]]:
    """Return how many examples each shard has, and the names of what is no shard in this folder."""
    index, foreign = {}, []
    for entry in read_json_list(path):
        name = entry.get("name") if isinstance(entry, dict) else None
        if isinstance(name, str) and _FILE.fullmatch(name):
            index[name] = _count(entry, _EXAMPLES, path)
        else:
            foreign.append(str(name))
    return index, foreign


def _n_examples(acts: Path, metadata: dict[str, Any], path: Path, n_vectors: int) -> tuple[int, int]:
    """Give how many examples this file holds, and how many a full one holds."""
    full = _count(metadata, _BUDGET, path) // max(n_vectors, 1)
    if (acts.parent / INDEX).is_file():
        index, _ = _index(acts.parent / INDEX)
        if acts.name not in index:
            raise ShardError(f"{acts}: not in shards.json, so how many examples it holds is not known")
        return index[acts.name], full
    match = _FILE.fullmatch(acts.name)
    n_all = _count(metadata, _EXAMPLES, path)
    return max(0, min(full, n_all - full * int(match[1] if match else 0))), full


def _count(members: dict[str, Any], names: tuple[str, ...], path: Path) -> int:
    for name in names:
        if name in members:
            return count(members[name], name, path)
    raise ShardError(f"{path}: has no {' or '.join(names)}; not saev's, or of a version that is not known")
