"""Exact and pattern lookups in the shipped table.

Patterns are those of `fnmatch`, case-sensitive, where `*` also matches `/`: the ids of a release all have the same
number of segments, so a pattern with all its slashes means the same as in a shell, and `layer_12*` and `*` mean what
they look like.
"""

from fnmatch import fnmatchcase
from functools import cache

from saefetch.names.registry.table import TABLE_PATH, Sae, parse, section


@cache
def _text() -> str:
    return TABLE_PATH.read_text(encoding="utf-8")


@cache
def _release(release: str) -> tuple[Sae, ...]:
    return tuple(parse(section(_text(), release)))


@cache
def _all() -> tuple[Sae, ...]:
    return tuple(parse(_text()))


def all_saes() -> list[Sae]:
    """Return every SAE, in natural order."""
    return list(_all())


def find(release: str, sae_id: str) -> Sae | None:
    """Return the SAE with exactly this release and id."""
    return next((sae for sae in _release(release) if sae.sae_id == sae_id), None)


def by_neuronpedia_id(neuronpedia_id: str) -> Sae | None:
    """Return the SAE that `MODEL/SOURCE` stands for; no two SAEs share one."""
    return next((sae for sae in _all() if sae.neuronpedia_id == neuronpedia_id), None)


def is_pattern(sae_id: str) -> bool:
    """Tell a pattern from a plain id; no id contains any of `*?[`."""
    return any(character in sae_id for character in "*?[")


def match(release: str, pattern: str) -> list[Sae]:
    """Return the SAEs of a release whose id matches, in natural order; a plain id matches itself."""
    return [sae for sae in _release(release) if fnmatchcase(sae.sae_id, pattern)]


def search(query: str | None) -> list[Sae]:
    """Return the SAEs that every word of `query` fits, in natural order; all of them for None or blank.

    Case does not count. A plain word must occur somewhere in the release, the SAE id, the Neuronpedia id or the base
    model; a word with `*?[` must match one of these, or `release/sae_id`, as a whole.
    """
    words = (query or "").lower().split()
    plain = [word for word in words if not is_pattern(word)]
    globs = [word for word in words if is_pattern(word)]
    found = []
    for sae in _all():
        names = f"{sae.release}/{sae.sae_id}\n{sae.neuronpedia_id}\n{sae.model}".lower()
        if all(word in names for word in plain) and all(_fits_a_name(sae, glob) for glob in globs):
            found.append(sae)
    return found


def _fits_a_name(sae: Sae, pattern: str) -> bool:
    names = (sae.release, sae.sae_id, sae.neuronpedia_id, sae.model, f"{sae.release}/{sae.sae_id}")
    return any(fnmatchcase(name.lower(), pattern) for name in names)
