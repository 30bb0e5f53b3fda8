"""The checkpoint: `Answers` of a source come in, one transaction a chunk; states and whole records go out.

    answers.py   what one chunk brought
    schema.py    the tables, whose file it is, SQLite's errors in plain words
    intake.py    answers -> rows: what they replace, what they add
    store.py     opening, committing, asking
    records.py   rows of several origins -> one feature      one.py  a single feature, in one statement

There is no other state: a chunk is done when its transaction is.
"""
