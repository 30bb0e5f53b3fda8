"""Where data lie: in a folder of this machine, or at an address such as s3://bucket/acts.

    address.py       what a user names: a path, or an address
    store.py         what a store can do: six verbs, and what each promises
    folder.py        a folder as a store
    object_store.py  a bucket as a store; the only module that knows obstore
    opened.py        from a place to its store
    probe.py         does the store keep its word on conditional writes?

Everything that several machines do on one place rests on `create`: of all who create a key, exactly one does.
"""
