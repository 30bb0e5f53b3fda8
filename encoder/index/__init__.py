"""The features of a folder by feature: where each one fires, how strongly, and where most strongly.

    <folder>/*.npz -> blocks of rows -> runs on disk -> rows and values by feature -> <folder>/features.csc

format.py      features.csc: its layout, how its headers are checked, whether it is of the files that are there
source.py      the rows of all files, in blocks
loops.py       the loops over the entries of a block, compiled by numba
runs.py        as many rows as fit into memory, by feature, on disk; and all such runs merged
build.py       build_index: these three, in bounded memory; `sae-encode index` calls it
put.py         where an index goes
reader.py      FeatureIndex: what a program asks
words.py       what a word is, and on which rows it stands
word_runs.py   the words of all shards, by row and then by word
older.py       what an index of version 1 would say today
"""

from encoder.index.format import index_state
from encoder.index.reader import FeatureIndex, open_index

__all__ = ["FeatureIndex", "index_state", "open_index"]
