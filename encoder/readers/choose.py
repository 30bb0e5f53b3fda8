"""Which of several tensors of a file: the one that --select names, the SAE's own hook, or the only one that fits."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from encoder.errors import AmbiguousError, ShardError
from encoder.hooks import compare, parse
from encoder.readers.arrays import Array
from encoder.readers.axes import SIXTEEN_BIT, declared, tells_layer, width_of
from encoder.readers.companions import is_companion
from encoder.readers.source import Source, printable

_HIDDEN_STATE = re.compile(r"(.*hidden_states)\.(\d+)")


def place_of(name: str, names: Collection[str]) -> str:
    """Return a tensor's name as that of a place in the model: of a list of hidden states, with how many there are."""
    of_list = _HIDDEN_STATE.fullmatch(name)
    if of_list is None:
        return name
    n = sum(key.startswith(f"{of_list[1]}.") for key in names)
    return f"{of_list[1]}[{of_list[2]}] of {n}"


def _tells_layer(name: str) -> bool:
    """Say whether the name tells a layer, other than by a bare number, which may be a prompt's."""
    return parse(name).layer is not None and not name.isdecimal()


def choose(named: Mapping[str, Array], source: Source) -> tuple[str, Array]:
    """Return the name and the array, as it lies in the file.

    Of those that fit, arrays of two and three dimensions come first, as larger ones may be attention patterns. A mask
    comes last. Raises: AmbiguousError if several fit, ShardError if none does.
    """
    wanted = source.select.get("key")
    if wanted is not None:
        if wanted not in named:
            raise ShardError(f"{source.path}: has no tensor {wanted!r}; it has {_listed(named)}")
        return wanted, named[wanted]
    ready = {name: declared(array, source) for name, array in named.items()}
    fitting = [name for name, array in ready.items() if array.is_float and len(array.shape) > 1]
    fitting = [name for name in fitting if (width := width_of(ready[name], name, source)) and source.takes(width)]
    fitting = [name for name in fitting if not is_companion(name)] or fitting
    if "layer" in source.select and not source.axes:
        fitting = [name for name in fitting if tells_layer(name, source.select["layer"])] or fitting
    same = [name for name in fitting if compare(place_of(name, named), source.hook_name) == "same"]
    if source.hook_name in fitting or len(same) == 1:
        name = source.hook_name if source.hook_name in fitting else same[0]
        return name, named[name]
    at_layer = [name for name in fitting if compare(place_of(name, named), source.hook_name) != "other"]
    if len(fitting) > len(at_layer) == 1 and _tells_layer(at_layer[0]):
        return at_layer[0], named[at_layer[0]]
    fitting = [name for name in fitting if len(ready[name].shape) < 4 or source.axes] or fitting
    if len(fitting) > 1:
        shown = _listed({name: ready[name] for name in fitting})
        raise AmbiguousError(
            f"{source.path}: choose with --select {printable(fitting[0])}, as several tensors fit: {shown}"
        )
    if fitting:
        return fitting[0], named[fitting[0]]
    if len(named) == 1:
        return next(iter(named.items()))  # what it lacks is said where its axes are looked at
    hint = ""
    if any(array.dtype in SIXTEEN_BIT for array in named.values()):
        hint = "; bfloat16 bits kept as integers need --select dtype=bfloat16"
    raise ShardError(f"{source.path}: no tensor holds rows of {source.d_in or 'floats'}; it has {_listed(named)}{hint}")


def _listed(named: Mapping[str, Array]) -> str:
    shown = [f"{printable(name)} {array.describe()}" for name, array in list(named.items())[:20]]
    return ", ".join(shown) + (f" and {len(named) - 20} more" if len(named) > 20 else "") or "no tensors"
