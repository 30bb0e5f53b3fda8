"""A shard's features as a file, and a folder of such files as one matrix. Nothing here needs torch.

    batches of sparse rows -> CsrWriter -> <out>/<name>.npz -> open_features -> Features, one CSR over all files

csr.py            a batch of sparse rows; what every row must keep to; the file that a shard's batches become
token_arrays.py   what a shard says of its rows (token ids, texts, documents, positions, mask) as arrays of that file
npz.py            how an array is written so that it can be memory-mapped, and found again without trust in the file
range_array.py    an array of an object in a store, in the place of a view of a map
feature_file.py   one file, opened: its headers and `meta` first, its arrays when they are needed
documents.py      where a document begins
folder.py         Features: the rows of all files, one after the other; which file has a row
"""
