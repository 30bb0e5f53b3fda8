"""What `--select` and `--axes` say, as one mapping that a ticket carries and a result's `meta` keeps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TypeVar

from encoder.errors import AmbiguousError, InputError, ShardError
from encoder.readers.declared import check_declared
from encoder.readers.source import Source, printable

KEYS = ("key", "layer", "component", "dtype")
RAW = {"raw_dtype": "--dtype", "raw_shape": "--shape"}
"""What files without a header hold, as `encoder.readers.declared` reads it, and the flags that say it."""
AXES = ("layer", "document", "token", "head", "d")
DECLARED = ("bfloat16", "float16")
Label = TypeVar("Label")


def parse_select(
    text: str | None,
    axes: str | Iterable[str] | None = None,
    dtype: str | None = None,
    shape: str | Iterable[int] | None = None,
) -> dict[str, str]:
    """Parse `--select` and `--axes`, and `--dtype` and `--shape` of files without a header.

    `layer=16,component=residual` and `dtype=bfloat16` name themselves; a bare name is `{"key": name}`. Axes are one
    member, `{"axes": "layer,document,token,d"}`. Raises: InputError with what is wrong and the closest known word.
    """
    chosen: dict[str, str] = {}
    for part in (text or "").split(","):
        key, equals, value = part.partition("=")
        key, value = (key.strip(), value.strip()) if equals else ("key", part.strip())
        if not value:
            if part.strip():
                raise InputError(f"--select {text}: {key!r} has no value; write {key}=VALUE")
            continue
        if key in RAW:
            check_declared(RAW[key], value)
        elif key not in KEYS:
            raise InputError(f"--select {text}: there is no {key!r}; {_closest(key, KEYS)}, or a bare tensor name")
        if key in chosen:
            raise InputError(f"--select {text}: {key} is given twice")
        if key == "dtype" and value not in DECLARED:
            raise InputError(f"--select {text}: 16-bit integers can be declared as {' or '.join(DECLARED)}")
        chosen[key] = value
    if axes is not None:
        chosen["axes"] = ",".join(_parse_axes(axes))
    if dtype is not None:
        chosen["raw_dtype"] = check_declared("--dtype", str(dtype))
    if shape is not None:
        chosen["raw_shape"] = check_declared("--shape", shape if isinstance(shape, str) else "x".join(map(str, shape)))
    return chosen


def select_of(
    select: str | Mapping[str, object] | None,
    axes: str | Iterable[str] | None = None,
    dtype: str | None = None,
    shape: str | Iterable[int] | None = None,
) -> dict[str, str]:
    """Read Python's keywords: as the flags of those names, or {"layer": 16} and sequences."""
    if not isinstance(select, Mapping):
        return parse_select(select, axes, dtype, shape)
    chosen = parse_select(None, axes, dtype, shape)
    for key, value in select.items():
        chosen |= {key: str(value)} if key == "key" else parse_select(f"{key}={value}")
    return chosen


def _parse_axes(axes: str | Iterable[str]) -> tuple[str, ...]:
    names = tuple(part.strip() for part in (axes.split(",") if isinstance(axes, str) else axes))
    shown = ",".join(names)
    for name in names:
        if name not in AXES:
            raise InputError(f"--axes {shown}: there is no axis {name!r}; {_closest(name, AXES)}")
        if name != "document" and names.count(name) > 1:
            raise InputError(f"--axes {shown}: {name} is named twice, and only document may be")
    if "d" not in names:
        raise InputError(f"--axes {shown}: name the axis of an activation's numbers too, which is d")
    return names


def _closest(word: str, known: tuple[str, ...]) -> str:
    close = get_close_matches(word, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"


def choose_label(labels: Iterable[Label], key: str, source: Source) -> Label:
    """Pick one of the file's labels, such as its layers, by `--select key=`; the only one needs no --select."""
    known = list(labels)
    wanted = source.select.get(key)
    found = known if wanted is None else [label for label in known if str(label) == wanted]
    shown = ", ".join(printable(label) for label in known[:20]) + (", ..." if len(known) > 20 else "")
    if not found:
        raise ShardError(f"{source.path}: has no {key} {wanted!r}; it has {shown or 'none'}")
    if len(found) > 1:
        raise AmbiguousError(
            f"{source.path}: choose with --select {key}={printable(found[0])}: it holds several {key}s: {shown}"
        )
    return found[0]
