"""Which of several tensors of a file: the one that --select names, the SAE's own hook, or the only one that fits."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from encoder.errors import AmbiguousError, ShardError
from encoder.hooks import compare
from encoder.readers.arrays import Array
from encoder.readers.axes import SIXTEEN_BIT, crosscoder_hint, declared, tells_layer, width_of
from encoder.readers.companions import is_companion
from encoder.readers.resolve import Offer, places_of, resolve
from encoder.readers.source import Source, printable

_HIDDEN_STATE = re.compile(r"(.*hidden_states)\.(\d+)")


def place_of(name: str, names: Collection[str]) -> str:
    """Return a tensor's name as that of a place in the model: of a list of hidden states, with how many there are."""
    of_list = _HIDDEN_STATE.fullmatch(name)
    if of_list is None:
        return name
    n = sum(key.startswith(f"{of_list[1]}.") for key in names)
    return f"{of_list[1]}[{of_list[2]}] of {n}"


def choose(named: Mapping[str, Array], source: Source) -> tuple[str, Array, tuple[str, ...]]:
    """Return the name and the array, as it lies in the file, and the places in the model that the file's arrays are of.

    Of those that fit, arrays of two and three dimensions come first, as larger ones may be attention patterns. A mask
    comes last. Raises: AmbiguousError if several fit, ShardError if none does.
    """
    wanted = source.select.get("key")
    if wanted is not None:
        if wanted not in named:
            raise ShardError(f"{source.path}: has no tensor {wanted!r}; it has {_listed(named)}")
        return wanted, named[wanted], ()
    ready = {name: declared(array, source) for name, array in named.items()}
    fitting = _fitting(ready, source)
    if "layer" in source.select and not source.axes:
        fitting = [name for name in fitting if tells_layer(name, source.select["layer"])] or fitting
    offers = [Offer(name, place_of(name, named)) for name in fitting]
    chosen = resolve(offers, source)
    if chosen is None and offers:
        fitting = [name for name in fitting if len(ready[name].shape) < 4 or source.axes] or fitting
        chosen = resolve([offer for offer in offers if offer.name in fitting], source)
        if chosen is None:
            hook, model = source.hook_name, source.model_name
            fitting.sort(key=lambda name: compare(place_of(name, named), hook, model) == "other")  # advised last
            shown = _listed({name: ready[name] for name in fitting})
            raise AmbiguousError(
                f"{source.path}: choose with --select {printable(fitting[0])}, as several tensors fit: {shown}"
            )
    if chosen is not None:
        return chosen.name, named[chosen.name], places_of(offers)
    if len(named) == 1:
        return *next(iter(named.items())), ()  # what it lacks is said where its axes are looked at
    hint = ""
    if any(array.dtype in SIXTEEN_BIT for array in named.values()):
        hint = "; bfloat16 bits kept as integers need --select dtype=bfloat16"
    of_rows = (array.width for array in ready.values() if array.is_float and len(array.shape) > 1)
    hint += next(filter(None, (crosscoder_hint(width, source) for width in of_rows)), "")
    raise ShardError(f"{source.path}: no tensor holds rows of {source.d_in or 'floats'}; it has {_listed(named)}{hint}")


def why_taken(name: str, named: Mapping[str, Array], source: Source) -> tuple[str, ...]:
    """Return a note where the tensor was taken of several that fit, for what another name than the hook's own tells."""
    n_fit = len(_fitting({key: declared(array, source) for key, array in named.items()}, source))
    if name == source.hook_name or not {"key", "layer"}.isdisjoint(source.select) or n_fit < 2:
        return ()
    return (
        f"{printable(name)} is taken of {n_fit:,} tensors that fit, as the SAE is for {printable(source.hook_name)};"
        " --select NAME takes another",
    )


def _fitting(ready: Mapping[str, Array], source: Source) -> list[str]:
    """List the arrays whose rows fit the SAE; token ids and masks only where there are no others."""
    fitting = [name for name, array in ready.items() if array.is_float and len(array.shape) > 1]
    fitting = [name for name in fitting if (width := width_of(ready[name], name, source)) and source.takes(width)]
    return [name for name in fitting if not is_companion(name)] or fitting


def _listed(named: Mapping[str, Array]) -> str:
    shown = [f"{printable(name)} {array.describe()}" for name, array in list(named.items())[:20]]
    return ", ".join(shown) + (f" and {len(named) - 20} more" if len(named) > 20 else "") or "no tensors"
