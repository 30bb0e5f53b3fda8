"""Where data lie: in a folder of this machine, or at an address such as s3://bucket/acts.

    address.py       what a user names: a path, or an address
    store.py         what a store can do: six verbs, and what each promises
    folder.py        a folder as a store
    object_store.py  a bucket as a store; the only module that knows obstore
    hub.py           a repository of Hugging Face as a store that is read from
    secrets.py       what other libraries say, without credentials
    opened.py        from a place to its store
    probe.py         does the store keep its word on conditional writes?
    ranges.py        the bytes of one object: small pieces, and blocks ahead of the reader
    tree.py          the objects of a bucket as a tree of folders
    object_path.py   an address as the path that everything else takes
    fetched.py       objects as files of this machine, for what cannot be read by ranges
    same.py          is a shard as it was?

Everything that several machines do on one place rests on `create`: of all who create a key, exactly one does.
"""
