"""Which axis of an array is which: as `--axes` names them, or as the only reading that there is.

    [token, d]             rows as they are
    [document, token, d]   rows in C order
    [..., head, d]         one row a token, where the name of the tensor or of the SAE's hook ends in hook_z
    anything else          --axes, of layer, document, token, head, d, in the array's own order

An array that can be read in two ways is refused with the ways to name, each with what it would mean. Token ids and a
mask of the file tell texts from layers. Without them a stack of layers has the shape of a batch of texts, so
`layers.layer_axis` compares the values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from encoder.errors import AmbiguousError, ShardError
from encoder.hooks import parse
from encoder.readers.arrays import Array
from encoder.readers.companions import fits
from encoder.readers.layers import MAX_LAYERS, MIN_WIDTH, Finding, layer_axis
from encoder.readers.select import AXES
from encoder.readers.source import Source

SIXTEEN_BIT = ("int16", "uint16")
HEADS = "hook_z"
_READINGS = {
    3: ("document,token,d", "layer,token,d", "token,layer,d", "token,document,d", "token,head,d"),
    4: (
        "layer,document,token,d", "document,layer,token,d", "document,token,layer,d", "document,document,token,d",
        "document,token,head,d", "layer,token,head,d",
    ),
    5: (
        "layer,document,token,head,d", "document,layer,token,head,d", "document,token,layer,head,d",
        "layer,document,document,token,d", "document,document,token,head,d",
    ),
}  # fmt: skip


def rows_of(
    array: Array,
    what: str,
    source: Source,
    *,
    name: str = "",
    known: Sequence[Array | None] = (),
    layer_number: int = 0,
) -> Array:
    """Return the array as rows [document..., token, d_in].

    `name` is the tensor's, "" if it has none. `known` are the token ids and the mask of the file. `layer_number` is
    what is taken of an axis of layers. Raises: ShardError if these cannot be activations, AmbiguousError with the ways
    to name the axes.
    """
    array = declared(array, source)
    _check_dtype(array, what, source)
    if source.axes:
        return _arranged(array, source.axes, what, source, layer_number)
    if is_by_head(array, name, source):
        return replace(array, row_dims=2)
    companions = [one for one in known if one is not None]
    layer = source.select.get("layer")
    seen: Finding | None = None
    if layer is not None and tells_layer(name, layer):
        layer = None  # it has chosen this tensor by its name
    if layer is None and source.takes(array.width):
        if sum(n != 1 for n in array.lead) < 2 or (companions and all(fits(array.lead, one) for one in companions)):
            return array
        if len(array.shape) == 3 and not companions:
            seen = layer_axis(array)
            if seen is None:
                return array
    readings = list(_readings(array, source, companions))
    if seen is not None:
        readings.sort(key=lambda way: way[seen.axis] != "layer")  # the likeliest first
    ways = [_in_words(way, array.shape, layer) for way in readings]
    if ways:
        why = f" ({seen.why})" if seen is not None else ""
        raise AmbiguousError(f"{source.path}: name the axes of {what}, {array.describe()}{why}: {'; or '.join(ways)}")
    _check_width(array, what, source)
    if layer is not None:
        raise ShardError(f"{source.path}: {what} is {array.describe()}, which has no axis of layers for layer={layer}")
    if len(array.shape) > 3 and not companions:
        raise AmbiguousError(
            f"{source.path}: name the axes of {what}, {array.describe()}: --axes, of {', '.join(AXES)}"
        )
    return array  # the token ids or the mask fit in no way: `companions.match` shows both shapes


def tells_layer(name: str, layer: str) -> bool:
    """Say whether a tensor's name tells this layer, other than by a number that may count hidden states or prompts."""
    place = parse(name)
    return place.hidden_state is None and not name.isdecimal() and str(place.layer) == layer


def takes_layers_beside_each_other(array: Array, source: Source) -> bool:
    """Say whether the SAE is as wide as all layers of the axis `layer` together, as a crosscoder is.

    Not where --select chooses a layer.
    """
    axes, shape = source.axes, array.shape
    if len(axes) != len(shape) or not {"layer", "d"} <= {*axes} or "head" in axes or "layer" in source.select:
        return False
    n_layers, d = shape[axes.index("layer")], shape[axes.index("d")]
    return n_layers > 1 and source.d_in == n_layers * d


def crosscoder_hint(width: int, source: Source) -> str:
    """Say how rows of this width may be made rows of the SAE, if it is a crosscoder; "" where none could be."""
    n_layers, rest = divmod(source.d_in or 0, width or 1)
    if rest or width < MIN_WIDTH or not 1 < n_layers <= MAX_LAYERS:
        return ""
    then = "name the axes, one of them layer"
    if "layer" in source.select:
        then = f"leave --select layer={source.select['layer']} out"
    return (
        f". A crosscoder of {n_layers} layers takes them beside each other: give its {n_layers} layers, in its order,"
        f" as one array, and {then}"
    )


def check_layers(array: Array, what: str, source: Source) -> None:
    """Raises: ShardError where the SAE is as wide as several layers of an axis of others, and no layer is its."""
    axes, shape = source.axes, array.shape
    n_layers, d = shape[axes.index("layer")], shape[axes.index("d")]
    n_wanted, rest = divmod(source.d_in or 0, 1 if "head" in axes else d or 1)
    if "head" in axes or "layer" in source.select or rest or n_wanted < 2:
        return
    raise ShardError(
        f"{source.path}: {what} is {array.describe()}, with {n_layers} layers of {d:,}, but the SAE takes"
        f" {source.d_in:,}, as a crosscoder of {n_wanted} layers does: save its {n_wanted} layers alone, in its order"
    )


def is_by_head(array: Array, name: str, source: Source) -> bool:
    """Say whether the array is a head-wise hook_z [..., n_heads, d_head], which SAELens makes one row per token."""
    shape = array.shape
    if len(shape) < 3 or not (_is_z(name) or _is_z(source.hook_name)):
        return False
    if source.d_in is None:
        return len(shape) > 3
    return source.d_in == shape[-2] * shape[-1] and (_is_z(name) or source.d_in != shape[-1])


def _is_z(hook_name: str) -> bool:
    """Say whether a hook is where the heads' outputs lie side by side, before they are projected and summed."""
    return hook_name.endswith(HEADS) or parse(hook_name).sites == {"attn_z"}


def width_of(array: Array, name: str, source: Source) -> int | None:
    """Return how wide a row of the array would be; None if `--axes` names other axes than it has."""
    if source.axes:
        of_row = [n for n, axis in zip(array.shape, source.axes, strict=False) if axis in ("head", "d")]
        return math.prod(of_row) if len(source.axes) == len(array.shape) else None
    return math.prod(array.shape[-2:]) if is_by_head(array, name, source) else array.width


def lead_of(array: Array, name: str, source: Source) -> tuple[int, ...]:
    """Return the sizes of the axes of documents and tokens, in the array's own order, as far as they are known."""
    if source.axes:
        return tuple(n for n, axis in zip(array.shape, source.axes, strict=False) if axis in ("document", "token"))
    return array.shape[:-2] if is_by_head(array, name, source) else array.lead


def plain_rows(array: Array, what: str, source: Source) -> Array:
    """Return the rows of an array of a format that says itself what its axes are: [..., d_in], or [..., head, d].

    Raises: ShardError if these cannot be the SAE's activations.
    """
    array = declared(array, source)
    _check_dtype(array, what, source)
    if is_by_head(array, "", source):
        return replace(array, row_dims=2)
    _check_width(array, what, source)
    return array


def like_rows(companion: Array, shape: tuple[int, ...], source: Source) -> Array:
    """Give token ids or a mask, in the order of the axes that `--axes` names, the order of the rows.

    `shape` is that of the activations as they lie in the file.
    """
    named = [(axis, n) for axis, n in zip(source.axes, shape, strict=False) if axis in ("document", "token")]
    if tuple(n for _, n in named) != companion.shape:
        return companion
    return companion.permuted(sorted(range(len(named)), key=lambda i: named[i][0] == "token"))


def declared(array: Array, source: Source) -> Array:
    """Give 16-bit integers the float dtype that --select declares; other arrays keep their own."""
    dtype = source.select.get("dtype")
    return replace(array, dtype=dtype) if dtype and array.dtype in SIXTEEN_BIT else array


def _arranged(array: Array, axes: tuple[str, ...], what: str, source: Source, layer_number: int) -> Array:
    if len(axes) != len(array.shape):
        raise ShardError(
            f"{source.path}: name {len(array.shape)} axes: {what} is {array.describe()}, and --axes {','.join(axes)}"
            f" names {len(axes)}"
        )
    if "layer" in source.select and "layer" not in axes:
        raise ShardError(f"{source.path}: name the layer axis in --axes {','.join(axes)}, or leave --select layer= out")
    order = sorted(range(len(axes)), key=lambda i: AXES.index(axes[i]))
    array = array.permuted(order)
    if "layer" in axes:
        array = array.taken(layer_number)
    if "token" not in axes:  # one row for each document
        array = array.with_axis(axes.count("document"))
    rows = replace(array, row_dims=2 if "head" in axes else 1)
    _check_width(rows, what, source)
    return rows


def _readings(array: Array, source: Source, companions: Sequence[Array]) -> Iterator[tuple[str, ...]]:
    """Yield the ways to name the axes that go with the SAE's width, with a model's layers and with the companions."""
    for way in _READINGS.get(len(array.shape), ()):
        axes = tuple(way.split(","))
        sizes = list(zip(axes, array.shape, strict=True))
        width = math.prod(n for axis, n in sizes if axis in ("head", "d"))
        in_file = [n for axis, n in sizes if axis in ("document", "token")]
        in_rows = [n for wanted in ("document", "token") for axis, n in sizes if axis == wanted]
        if source.d_in not in (None, width) or any(axis == "layer" and n > MAX_LAYERS for axis, n in sizes):
            continue
        if "layer" in source.select and "layer" not in axes:
            continue
        if all(fits(in_file, one) or fits(in_rows, one) for one in companions):
            yield axes


def _in_words(axes: tuple[str, ...], shape: tuple[int, ...], layer: str | None) -> str:
    chosen = f" --select layer={layer or 'N'}" if "layer" in axes else ""
    sizes = " x ".join(f"{n:,} {axis}s" for axis, n in zip(axes, shape, strict=True) if axis != "d")
    return f"--axes {','.join(axes)}{chosen} ({sizes})"


def _check_dtype(array: Array, what: str, source: Source) -> None:
    """Refuse what cannot be activations [..., d_in]: integers, a vector."""
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


def _check_width(array: Array, what: str, source: Source) -> None:
    if source.takes(array.width):
        return
    message = f"{source.path}: {what} is {array.describe()}: rows of {array.width:,}, but the SAE takes {source.d_in:,}"
    if source.d_in in array.shape:
        at = array.shape.index(source.d_in)
        raise ShardError(f"{message}, which is the size of axis {at}: is that axis d? Name the axes with --axes")
    hint = crosscoder_hint(array.width, source)
    raise ShardError(f"{message}; give the SAE of these activations, or the activations of the SAE's hook{hint}")
