"""What is looked at: labels and features on disk, as they are at one moment.

    data.py         `Data` is everything that the command was told of; `Data.look()` opens it for one request
    look.py         `Look` is what a view gets: features and labels of one moment
    folder.py       a folder of features that may grow: opened again when it changes
    corpus.py       the features that were there at that moment: rows, documents, sums over documents
    part.py         some of the documents, for an export: the same questions, answered from these documents alone
    documents.py    where documents begin and end
    tokens.py       token ids -> text
    figures.py      how often and how strongly each feature fires, here or on Neuronpedia
    occurrences.py  where a word stands, and which features fire on it
    selection.py    selections of documents, as people write them
    groups.py       groups of documents with names
    contrast.py     which features fire more in one selection of documents than in another
    places.py       paths, as they are shown
    pace.py         how fast a download or a queue goes on
    shards.py       what a shard's headers do not say
    downloads.py    how far a download of labels is
    cache.py        what is dear to compute, kept

Paths come in; arrays and dataclasses go out. Nothing here knows JSON or HTTP, and nothing is written.
"""
