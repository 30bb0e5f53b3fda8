"""The mirror: Neuronpedia's read routes, answered from the stores under the data dir, for its existing clients.

    shelf.py      MODEL/SOURCE -> the stores that hold it, open for reading
    feature.py    one feature as Neuronpedia's JSON, and whether it may be served
    asked.py      the body of POST /api/features, checked as Neuronpedia checks it
    export.py     all explanations of an SAE, from one moment
    routes.py     the handlers

A reader must never take "not yet" for "never". So 404, or a gap in the answer to a POST, is only what Neuronpedia
itself says does not exist; what is not here yet is 503.
"""
