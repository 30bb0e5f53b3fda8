"""Suggestions for an SAE that the registry does not have: typos, a layer or width that does not exist.

Plain edit distance is poor here, because it takes layer 2 and layer 6 for the neighbours of layer 26. So a name is
split into its *shape*, the name with its numbers blanked (`layer_#/width_#k/canonical`), and its numbers. Shapes are
compared letter by letter (there are few, so this is quick), numbers by how far apart they are.
"""

import re
from functools import cache
from math import log2

from saefetch.names.registry.lookup import all_saes
from saefetch.names.registry.table import Sae

# A release's numbers say which model it is, so another number weighs more there than another layer or width.
RELEASE_NUMBER_COST = 0.10
SAE_ID_NUMBER_COST = 0.04
LEAST_LIKENESS = 1.2  # of 2; below it a suggestion would be noise


def suggest(release: str, sae_id: str, n: int = 3) -> list[Sae]:
    """Return up to n SAEs with the names nearest to these, the nearest first; none if nothing is near.

    A Neuronpedia id given as the SAE id finds its SAE.
    """
    likeness_of_release = cache(lambda name: _likeness(release, name, RELEASE_NUMBER_COST))

    def likeness(sae: Sae) -> float:
        if sae_id == sae.neuronpedia_id:
            return 2
        if sae_id == sae.neuronpedia_id.partition("/")[2]:
            return likeness_of_release(sae.release) + 1
        return likeness_of_release(sae.release) + _likeness(sae_id, sae.sae_id, SAE_ID_NUMBER_COST)

    ranked = sorted(((likeness(sae), sae) for sae in all_saes()), key=lambda pair: -pair[0])
    return [sae for value, sae in ranked[:n] if value >= LEAST_LIKENESS]


def _likeness(wanted: str, name: str, number_cost: float) -> float:
    """Return 1.0 for equal names, less the further apart they are."""
    wanted_shape, wanted_numbers = _split(wanted)
    shape, numbers = _split(name)
    apart = sum(map(_apart, wanted_numbers, numbers)) + abs(len(wanted_numbers) - len(numbers))
    return _shape_likeness(wanted_shape, shape) - number_cost * apart


def _apart(a: int, b: int) -> float:
    """Return 0 for equal numbers, else 0.5 to 1, growing with the number of doublings between them."""
    return 0 if a == b else 0.5 + min(0.5, abs(log2((a + 1) / (b + 1))) / 16)


@cache
def _split(name: str) -> tuple[str, tuple[int, ...]]:
    lowered = name.lower()
    digits = re.findall(r"\d+", lowered)
    return re.sub(r"\d+", "#", lowered), tuple(int(run[:18]) for run in digits)  # int() refuses thousands of digits


@cache
def _shape_likeness(a: str, b: str) -> float:
    from difflib import SequenceMatcher  # only for a name that is not there

    return SequenceMatcher(None, a, b, autojunk=False).ratio()
