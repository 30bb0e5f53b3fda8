"""Token ids and masks in files of their own, beside a file that holds nothing but one array.

    acts.npy   acts_attention_mask.npy   acts_input_ids.npy     called after it
    acts.npy   attention_mask.npy        input_ids.npy          beside the only other file of that ending
    acts.npy.gz   acts_attention_mask.npy   input_ids.npy.gz    each may be packed

Names are those of `companions`. A file of floats is token ids of nothing, and a mask only where it has one number for
each row: so activations that are called `tokens.npy` are activations.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from encoder.errors import ShardError
from encoder.readers import numpy_header, packed_stream
from encoder.readers.arrays import Array
from encoder.readers.assemble import shard_of
from encoder.readers.axes import lead_of
from encoder.readers.companion_names import BETWEEN, MASK_NAMES, NAMES, called_after
from encoder.readers.companions import fits, ids_of, mask_beside
from encoder.readers.place import hook_of_place
from encoder.readers.source import Source
from encoder.shard import Shard
from encoder.stores.object_path import ObjectPath

SUFFIXES = (".npy", ".pt")
HEADERLESS = (".dat", ".bin", ".raw", ".mmap", ".memmap", ".mm")
"""Endings of files of numbers without a header; what is beside them is an .npy called after them."""
PACKED = [ending for ending, without in packed_stream.SUFFIXES.items() if not without]


def is_sidecar(path: Path) -> bool:
    """Say whether the file belongs to a file of one array beside it, by its name and by what is in it."""
    plain = _plain(path)
    if plain.suffix not in SUFFIXES:
        return False
    return any(_belongs(path, name, main) for main, name in _mains(plain))


def one_array(source: Source, array: Array, what: str) -> Shard:
    """Make a Shard of a file of one array, with the token ids and the mask beside it. `what` calls it in messages."""
    named = sidecars_of(source, array)
    lead = lead_of(array, hook_of_place(source.path, source.root), source)
    mask, notes = mask_beside(named, "", lead)
    if named:
        notes = (*notes, f"taken from files of their own beside it: {', '.join(sorted(named))}")
    ids, hook_name = ids_of(named, "", lead), hook_of_place(source.path, source.root)
    return shard_of(source, array, what, name=hook_name, ids=ids, mask=mask, hook_name=hook_name, notes=notes)


def sidecars_of(source: Source, rows: Array) -> dict[str, Array]:
    """Return the token ids and masks beside a file of one array, `rows`, by their names."""
    found = {}
    if source.path.suffix in SUFFIXES + HEADERLESS and source.path.stem not in NAMES:
        if isinstance(source.path, ObjectPath):  # one listing instead of a question for each of a hundred names
            source.path.tree.folder(source.path.parent.address.key)
        for path, name in named_after(source.path):
            array = _array(path)
            if array is not None and name not in found and _is_of(name, array, rows):
                found[name] = array
    return found


def _mains(path: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files that this one may belong to, by its name, and what it is to them, such as attention_mask."""
    for stem, name in called_after(path.stem):
        yield path.with_name(f"{stem}{path.suffix}"), name
        if path.suffix == ".npy":
            yield from ((path.with_name(f"{stem}{ending}"), name) for ending in HEADERLESS)
    if path.stem in NAMES and (only := _only_main(path)):
        yield only, path.stem


def named_after(main: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files there are that belong to `main` by their names; those that are called after it come first.

    `main` has its name without its packing.
    """
    suffix = ".npy" if main.suffix in HEADERLESS else main.suffix
    for name in NAMES:
        for between in BETWEEN:
            if path := _there(main.with_name(f"{main.stem}{between}{name}{suffix}")):
                yield path, name
    for name in NAMES:
        plain = main.with_name(f"{name}{main.suffix}")
        if (path := _there(plain)) and _only_main(plain) == main:
            yield path, name


def _only_main(path: Path) -> Path | None:
    """Return the only file of its ending beside it that is not called like a sidecar."""
    beside = {_plain(one) for one in path.parent.iterdir() if _plain(one).suffix == path.suffix}
    others = [
        one for one in beside if one.stem not in NAMES and not any(_there(main) is not None for main, _ in _mains(one))
    ]
    return others[0] if len(others) == 1 else None


def _belongs(path: Path, name: str, main: Path) -> bool:
    array = _array(path)
    there = _there(main)
    if main.suffix in HEADERLESS and there is not None:  # what it holds is not known here
        return array is not None and not array.is_float
    rows = None if there is None else _array(there)
    return rows is not None and array is not None and _is_of(name, array, rows)


def _is_of(name: str, array: Array, rows: Array) -> bool:
    if not rows.is_float or len(rows.shape) < 2:
        return False
    return not array.is_float or (name in MASK_NAMES and fits(rows.lead, array))


def _array(path: Path) -> Array | None:
    """Return the array of a file that holds one; None for other files."""
    try:
        if path.suffix.lower() in packed_stream.SUFFIXES:
            return packed_stream.npy_in(path)
        if path.suffix == ".npy":
            return numpy_header.array_at(path, path.stat().st_size)
        contents = Source.of(path, {}, None).contents
    except (ShardError, OSError):
        return None
    return contents if isinstance(contents, Array) else None


def _plain(path: Path) -> Path:
    """Return a file's path without its packing."""
    return path.with_name(packed_stream.unpacked_name(path))


def _there(plain: Path) -> Path | None:
    """Return the file itself, or else the one that is packed."""
    names = (plain.name, *(f"{plain.name}{ending}" for ending in PACKED))
    return next((path for name in names if (path := plain.with_name(name)).is_file()), None)
