"""Which SAE is meant: words of a person come in, checked `Target`s go out.

    identity.py   what names may look like, the folder of an SAE, and what flags mean together
    registry/     what SAELens' registry maps to Neuronpedia: a table in the package, made by a script

Whatever becomes part of a path or of an address has passed through here.
"""
