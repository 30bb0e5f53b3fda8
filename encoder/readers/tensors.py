"""Files of one array, or of names -> arrays, such as a TransformerLens cache {hook_name: [b, s, d]}.

    safetensors, torch .pt (also of before 1.6), numpy .npz, HDF5, zarr

Of several tensors the SAE's own hook is taken, else the only one whose rows fit the SAE, else --select names it; nested
names join with dots. Token ids and a mask of the file come along: see `companions`.
"""

from __future__ import annotations

from dataclasses import replace

from encoder.errors import ShardError
from encoder.hooks import parse
from encoder.readers.arrays import Array
from encoder.readers.assemble import shard_of
from encoder.readers.axes import lead_of
from encoder.readers.choose import choose, place_of, why_taken
from encoder.readers.companions import ids_of, mask_beside
from encoder.readers.layer_axis import layer_of
from encoder.readers.place import hook_of_place
from encoder.readers.sidecars import one_array
from encoder.readers.source import Source, printable
from encoder.readers.told import place_told
from encoder.shard import Shard

NAME = "safetensors, torch .pt, numpy .npz, HDF5, zarr"


def claims(source: Source) -> bool:
    return source.holds_arrays


def open_shard(source: Source) -> Shard:
    if isinstance(source.contents, Array):
        source.allow_select("axes")
        return one_array(source, source.contents, "the tensor")
    source.allow_select("key", "axes")
    if isinstance(source.contents, list) and source.axes[:1] == ("layer",):
        return _of_listed_layers(source, source.contents)
    if not source.arrays:
        raise ShardError(f"{source.path}: holds no dense tensors of a dtype that can be read")
    name, array, places = choose(source.arrays, source)
    lead = lead_of(array, name, source)
    mask, notes = mask_beside(source.arrays, name, lead)
    notes += why_taken(name, source.arrays, source)
    ids = ids_of(source.arrays, name, lead)
    what = repr(printable(name))
    # A place in a list counts anything: layers, prompts, batches.
    hook_name = "" if isinstance(source.contents, list) else place_of(name, source.arrays)
    if not parse(hook_name).is_known:
        hook_name = place_told(source, name) or hook_of_place(source.path, source.root) or hook_name
    return shard_of(source, array, what, name=name, ids=ids, mask=mask, hook_name=hook_name, notes=notes, places=places)


def _of_listed_layers(source: Source, layers: list[object]) -> Shard:
    """Take a layer of a list of layers, as transformers' hidden states are: the list is the axis of layers."""
    arrays = [one for one in layers if isinstance(one, Array)]
    if len(arrays) < len(layers) or len({(one.shape, one.dtype) for one in arrays}) > 1:
        raise ShardError(f"{source.path}: --axes {','.join(source.axes)} is for a list of tensors of one shape")
    layer = layer_of(len(arrays), source.path.stem, source)
    rest = ",".join(source.axes[1:])
    select = {key: value for key, value in source.select.items() if key not in ("axes", "layer")} | {"axes": rest}
    return shard_of(
        replace(source, select=select),
        arrays[layer.number],
        f"entry {layer.number}",
        hook_name=layer.hook,
        notes=(layer.note,),
        places=layer.places,
    )
