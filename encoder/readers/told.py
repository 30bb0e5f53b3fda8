"""The place in the model that a file tells in words beside its activations.

    {"hook_name": "blocks.16.hook_resid_post", "activations": [n, d]}    or hook, hook_point, module, ...
    {"layer": 16, "component": "residual", "activations": [n, d]}
    {"metadata": {"layer": 16}, "activations": [n, d]}                   or config, info, ...

Such words stand in a mapping of the activations or in one above them, in the metadata of safetensors, in the attributes
of HDF5. A tensor's own name, where it tells a place, counts before them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any

from encoder.errors import ShardError
from encoder.hooks import parse
from encoder.readers import hdf5_file, safetensors_header
from encoder.readers.arrays import Array
from encoder.readers.source import Source, printable

HOOK_NAMES = ("hook_name", "hook_point", "hookpoint", "hook", "module_name", "module_path", "module", "submodule")
LAYER_NAMES = ("layer", "layer_idx", "layer_index", "layer_id", "layer_num", "layer_number", "hook_layer")
SITE_NAMES = ("component", "site", "hook_type", "activation_type")
PLACE_NAMES = (*HOOK_NAMES, *LAYER_NAMES, *SITE_NAMES)
_OF_PLACES = ("string", "large_string", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
BESIDE = ("metadata", "meta", "__metadata__", "config", "cfg", "info", "attrs")


def place_told(source: Source, name: str) -> str:
    """Return the place that is told of the tensor `name`, the nearest to it first; "" if none is."""
    return next(filter(None, map(in_words, _around(source, name))), "")


def in_words(told: Mapping[Any, Any]) -> str:
    """Return the place that a mapping tells, as a hook's name or as layer=N,component=...; "" if it tells none."""
    words = {str(key).casefold(): value for key, value in told.items()}
    for key in HOOK_NAMES:
        if isinstance(hook := words.get(key), str) and parse(hook).is_known:
            return hook
    layers = [layer for key in LAYER_NAMES if (layer := _number(words.get(key))) is not None]
    if not layers:
        return ""
    sites = [site for key in SITE_NAMES if isinstance(site := words.get(key), str) and site]
    return ",".join([f"layer={layers[0]}", *(f"component={site}" for site in sites[:1])])


def tells_place(name: str, type_: object) -> bool:
    """Say whether a column of this Arrow type may tell the places of a table's rows."""
    return name.casefold() in PLACE_NAMES and str(type_) in _OF_PLACES


def place_of_rows(source: Source, columns: Mapping[str, Set[object]]) -> str:
    """Return the place that a table's columns, each with its different values, tell of all rows; "" if none does.

    Raises: ShardError if the rows are of several places.
    """
    told: dict[str, object] = {}
    for name, values in columns.items():
        if len(values) > 1 and all(in_words({name: value}) for value in values):
            shown = ", ".join(printable(value) for value in sorted(values, key=str)[:5])
            raise ShardError(
                f"{source.path}: save the rows of the SAE's layer alone: column {printable(name)} says {shown}"
                f"{', ...' if len(values) > 5 else ''}, and the rows of all of them are in one column"
            )
        if len(values) == 1:
            told[name] = next(iter(values))
    return in_words(told)


def _around(source: Source, name: str) -> Iterator[Mapping[Any, Any]]:
    if hdf5_file.looks_like(source.head):
        yield from hdf5_file.attributes(source.path, name)
    holders = [source.contents]
    for part in name.split(".")[:-1]:
        holder = holders[-1]
        if not isinstance(holder, dict):
            break
        holders.append(holder.get(part, holder.get(int(part)) if part.isdecimal() else None))
    for holder in reversed(holders):
        if isinstance(holder, dict):
            yield holder
            yield from (one for key in BESIDE if isinstance(one := holder.get(key), dict))
    if safetensors_header.looks_like(source.head, source.size):
        yield safetensors_header.metadata(source.path)


def _number(value: object) -> int | None:
    """Read the number of a layer: a whole number, alone or in an array, or digits."""
    if isinstance(value, Array):
        value = int(value.integers()[0]) if not value.is_float and value.shape in ((), (1,)) else None
    if isinstance(value, str):
        return int(value) if value.isdecimal() and len(value) < 6 else parse(value).layer
    return value if type(value) is int and 0 <= value < 100_000 else None
