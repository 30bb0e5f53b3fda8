"""Readers of activation files: whatever people have on disk becomes rows, without converting it first.

    find_inputs(path)  -> the data files below a folder, in the format's own order
    open_shards(file)  -> Shard: n_rows, d_in, read(start, stop), tokens()

A format is one module with `NAME`, `claims`, `open_shard` and, if it is a folder format, `data_files`; `registry` lists
them. The reader is chosen by what is in the file and beside it. Everything in a file is hostile until it is checked.
"""

from encoder.readers.registry import open_shards
from encoder.readers.select import parse_select, select_of
from encoder.readers.walk import find_inputs

__all__ = ["find_inputs", "open_shards", "parse_select", "select_of"]
