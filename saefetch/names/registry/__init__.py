"""The SAEs that SAELens maps to Neuronpedia, from a table that ships with the package.

    Sae(release, sae_id, neuronpedia_id, d_sae, model)

    find, by_neuronpedia_id     exactly one, or None
    match                       the SAEs of one release whose id fits a pattern
    search, all_saes            for `saefetch list`
    suggest                     "did you mean" for a name that is not there

`table` holds the format, `build` (development only) writes it from SAELens' YAML.
"""

from saefetch.names.registry.lookup import all_saes, by_neuronpedia_id, find, is_pattern, match, search
from saefetch.names.registry.nearest import suggest
from saefetch.names.registry.table import Sae

__all__ = ["Sae", "all_saes", "by_neuronpedia_id", "find", "is_pattern", "match", "search", "suggest"]
