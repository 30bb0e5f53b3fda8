"""Readers of activation files: whatever people have on disk becomes rows, without converting it first.

    find_inputs(path)     -> the data files below a folder, in the format's own order            walk.py
    DataFile(file).shard_for(d_in, hook)   -> Shard: n_rows, d_in, read(start, stop), tokens()   registry.py
    parse_select, select_of   --select and --axes, as one mapping that a ticket carries          select.py

A format is one module with `NAME`, `claims`, `open_shard` and, if it is a folder format, `data_files`; `registry` lists
them. The reader is chosen by what is in the file and beside it. Everything in a file is hostile until it is checked.

    installed.py          readers that other packages bring, by an entry point
    source.py             the file, its parsed contents, and what the caller wants of it
    containers.py         which file of arrays it is, and the place of each array's bytes (arrays.py):
        torch_archive.py, torch_legacy.py, torch_pickle.py, numpy_archive.py, numpy_header.py, safetensors_header.py
    hdf5_file.py, zarr_store.py   arrays that a library reads by boxes (grid.py)
    tar_archive.py, packed.py     files within a tar, and what gzip and zstd packed
    packed_stream.py, forward.py  packed bytes as a stream, and arrays whose rows are read in order
    brought.py            shards at an address of a format that is not read by ranges
    tables.py, arrow_stream.py    tables
    arrow_skeleton.py     an Arrow stream at an address, without its numbers
    declared.py, side_json.py     what flags and side files say
    resolve.py            which of the things in a file are the SAE's, by their names: the same rule for all formats
    natural_order.py      doc_2 before doc_10
    choose.py             the arrays of a file that may be activations, for `resolve`
    axes.py, layers.py    which axis is which; a stack of layers is not taken for texts
    layer_axis.py         which layer of an axis of layers is the SAE's
    companions.py         token ids and masks beside the activations, by their names (companion_names.py)
    listed.py             the same, where a file has them as plain lists
    table_tokens.py       the same, where a table has them as columns (table_rows.py)
    sidecars.py           the same in files of their own
    told.py               the place in the model that a file tells in words
    place.py              the hook that the file's or folder's name says
    assemble.py           from checked arrays to a Shard
"""

from encoder.errors import ShardError
from encoder.readers.raw_memmap import SUFFIXES as RAW_SUFFIXES
from encoder.readers.registry import DataFile
from encoder.readers.select import parse_select, select_of
from encoder.readers.source import Source
from encoder.readers.walk import EMPTY, find_inputs
from encoder.shard import Shard, Tokens

# Source, Shard, Tokens and ShardError are what a reader of another package works with: docs/readers.md.
__all__ = [
    "EMPTY",
    "RAW_SUFFIXES",
    "DataFile",
    "Shard",
    "ShardError",
    "Source",
    "Tokens",
    "find_inputs",
    "parse_select",
    "select_of",
]
