"""The SAEs that SAELens maps to Neuronpedia, from a table that ships with the package.

    Sae(release, sae_id, neuronpedia_id, d_sae, model)

    find, by_neuronpedia_id     exactly one, or None
    match                       the SAEs of one release whose id fits a pattern
    of_source_set               the SAEs of a Neuronpedia source set
    search, all_saes            for `saefetch list`
    search_everything           for `saefetch list --all`: AnySae, also those without a Neuronpedia id
    suggest                     "did you mean" for a name that is not there

`table` and `everything` hold the formats, `build` (development only) writes them from SAELens' YAML.
"""

from saefetch.names.registry.everything import AnySae
from saefetch.names.registry.lookup import (
    all_saes,
    by_neuronpedia_id,
    find,
    is_pattern,
    match,
    of_source_set,
    search,
    search_everything,
)
from saefetch.names.registry.nearest import suggest
from saefetch.names.registry.table import Sae

__all__ = [
    "AnySae",
    "Sae",
    "all_saes",
    "by_neuronpedia_id",
    "find",
    "is_pattern",
    "match",
    "of_source_set",
    "search",
    "search_everything",
    "suggest",
]
