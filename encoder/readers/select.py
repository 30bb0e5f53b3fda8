"""Which of several things in a file: what `--select` says, else the only one that fits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import TypeVar

from encoder.errors import AmbiguousError, InputError, ShardError
from encoder.readers.arrays import Array
from encoder.readers.source import Source

KEYS = ("key", "layer", "component", "dtype")
SIXTEEN_BIT = ("int16", "uint16")
DECLARED = ("bfloat16", "float16")
Label = TypeVar("Label")


def parse_select(text: str | None) -> dict[str, str]:
    """Parse `--select`: `layer=16,component=residual`, `dtype=bfloat16`, or a bare name, which is `{"key": name}`."""
    chosen: dict[str, str] = {}
    for part in (text or "").split(","):
        key, equals, value = part.partition("=")
        key, value = (key.strip(), value.strip()) if equals else ("key", part.strip())
        if not value:
            if part.strip():
                raise InputError(f"--select {text}: {key!r} has no value; write {key}=VALUE")
            continue
        if key not in KEYS:
            close = get_close_matches(key, KEYS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(KEYS)}, or a bare tensor name"
            raise InputError(f"--select {text}: there is no {key!r}; {hint}")
        if key in chosen:
            raise InputError(f"--select {text}: {key} is given twice")
        if key == "dtype" and value not in DECLARED:
            raise InputError(f"--select {text}: 16-bit integers can be declared as {' or '.join(DECLARED)}")
        chosen[key] = value
    return chosen


def declared(array: Array, source: Source) -> Array:
    """Give 16-bit integers the float dtype that --select declares; other arrays say their own."""
    dtype = source.select.get("dtype")
    return replace(array, dtype=dtype) if dtype and array.dtype in SIXTEEN_BIT else array


def printable(name: object) -> str:
    """Give a name from a file as one that cannot break a line or drive a terminal."""
    text = str(name)[:80]
    return text if text.isprintable() else ascii(text)


def as_rows(array: Array, name: str, source: Source) -> Array:
    """Make a head-wise hook_z [..., n_heads, d_head] one row per token, as SAELens does, where d_in says so."""
    heads_fit = len(array.shape) > 2 and source.d_in in (None, array.shape[-2] * array.shape[-1])
    if name.endswith("hook_z") and heads_fit and (source.d_in is not None or len(array.shape) > 3):
        return replace(array, row_dims=2)
    return array


def check_rows(array: Array, what: str, source: Source) -> None:
    """Refuse what cannot be activations [..., d_in]: integers, a vector, the wrong width."""
    if not array.is_float:
        message = f"{source.path}: {what} is {array.describe()}, expected bfloat16, float16, float32 or float64"
        if array.dtype in SIXTEEN_BIT:
            raise AmbiguousError(f"{message}; if these are bfloat16 bits, say --select dtype=bfloat16")
        raise ShardError(f"{message}; activations are not integers")
    if len(array.shape) < 2 or array.width == 0:
        raise ShardError(f"{source.path}: {what} is {array.describe()}, expected [..., d_in]")
    if source.select.get("dtype", array.dtype) != array.dtype:
        raise ShardError(
            f"{source.path}: {what} is {array.describe()}; --select dtype={source.select['dtype']} is for bits kept as"
            f" 16-bit integers: leave it out"
        )
    if source.d_in is not None and array.width != source.d_in:
        raise ShardError(
            f"{source.path}: {what} is {array.describe()}: rows of {array.width}, but the SAE takes {source.d_in};"
            f" these come from another model or hook"
        )


def choose(named: Mapping[str, Array], source: Source) -> tuple[str, Array]:
    """Pick the array that --select names, else the only float one whose rows fit d_in.

    Arrays of two and three dimensions come first: with more they are attention patterns, say, unless nothing else fits.
    """
    ready = {name: as_rows(declared(array, source), name, source) for name, array in named.items()}
    wanted = source.select.get("key")
    if wanted is not None:
        if wanted not in ready:
            raise ShardError(f"{source.path}: has no tensor {wanted!r}; it has {_listed(ready)}")
        check_rows(ready[wanted], repr(wanted), source)
        return wanted, ready[wanted]
    fitting = [name for name, array in ready.items() if array.is_float and len(array.shape) > 1 and array.width]
    fitting = [name for name in fitting if source.d_in in (None, ready[name].width)]
    fitting = [name for name in fitting if len(ready[name].lead) < 3] or fitting
    if len(fitting) > 1:
        shown = _listed({name: ready[name] for name in fitting})
        raise AmbiguousError(
            f"{source.path}: several tensors fit: {shown}; choose with --select {printable(fitting[0])}"
        )
    if not fitting:
        if len(ready) == 1:
            name, array = next(iter(ready.items()))
            check_rows(array, repr(name), source)
        hint = ""
        if any(array.dtype in SIXTEEN_BIT for array in ready.values()):
            hint = "; bfloat16 bits kept as integers need --select dtype=bfloat16"
        raise ShardError(
            f"{source.path}: no tensor holds rows of {source.d_in or 'floats'}; it has {_listed(ready)}{hint}"
        )
    return fitting[0], ready[fitting[0]]


def choose_label(labels: Iterable[Label], key: str, source: Source) -> Label:
    """Pick one of the file's labels, such as its layers, by `--select key=`; the only one needs no --select."""
    known = list(labels)
    wanted = source.select.get(key)
    found = known if wanted is None else [label for label in known if str(label) == wanted]
    shown = ", ".join(printable(label) for label in known[:20])
    if not found:
        raise ShardError(f"{source.path}: has no {key} {wanted!r}; it has {shown or 'none'}")
    if len(found) > 1:
        raise AmbiguousError(
            f"{source.path}: holds several {key}s: {shown}; choose with --select {key}={printable(found[0])}"
        )
    return found[0]


def _listed(named: Mapping[str, Array]) -> str:
    shown = [f"{printable(name)} {array.describe()}" for name, array in list(named.items())[:20]]
    return ", ".join(shown) + (f" and {len(named) - 20} more" if len(named) > 20 else "") or "no tensors"
