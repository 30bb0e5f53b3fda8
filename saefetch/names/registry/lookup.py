"""Exact and pattern lookups in the shipped table.

Patterns are those of `fnmatch`, case-sensitive, where `*` also matches `/`: the ids of a release all have the same
number of segments, so a pattern with all its slashes means the same as in a shell, and `layer_12*` and `*` mean what
they look like.
"""

import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import cache

from saefetch.names.registry.everything import AnySae, everything
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


def of_source_set(model: str, name: str) -> list[Sae]:
    """Return the SAEs of a Neuronpedia source set: one of each layer, as `LAYER-name`."""
    ids = re.compile(rf"{re.escape(model)}/\d+-{re.escape(name)}")
    return [sae for sae in _all() if ids.fullmatch(sae.neuronpedia_id)]


def is_pattern(sae_id: str) -> bool:
    """Tell a pattern from a plain id; no id contains any of `*?[`."""
    return any(character in sae_id for character in "*?[")


def match(release: str, pattern: str) -> list[Sae]:
    """Return the SAEs of a release whose id matches, in natural order; a plain id matches itself."""
    return [sae for sae in _release(release) if fnmatchcase(sae.sae_id, pattern)]


def search(query: str | None) -> list[Sae]:
    """Return the SAEs with a Neuronpedia id that every word of `query` fits, in natural order; all for None or blank.

    Case does not count. A plain word must occur somewhere in the release, the SAE id, the Neuronpedia id or the base
    model; a word with `*?[` must match one of these, or `release/sae_id`, as a whole.
    """
    fits = _fitting(query)
    return [sae for sae in _all() if fits((sae.release, sae.sae_id, sae.neuronpedia_id, sae.model))]


def search_everything(query: str | None) -> list[AnySae]:
    """Return the SAEs that SAELens loads by name, with a Neuronpedia id or without, as `search` does.

    A word may also occur in the name of the loader or of the hook.
    """
    fits = _fitting(query)
    return [
        sae
        for sae in everything()
        if fits((sae.release, sae.sae_id, sae.neuronpedia_id or "", sae.model, sae.loader, sae.hook_name or ""))
    ]


def _fitting(query: str | None) -> Callable[[Sequence[str]], bool]:
    """Return the test of a query on the names of an SAE, of which the first two are its release and its id."""
    words = (query or "").lower().split()
    plain = [word for word in words if not is_pattern(word)]
    globs = [word for word in words if is_pattern(word)]

    def fits(names: Sequence[str]) -> bool:
        lowered = [name.lower() for name in (f"{names[0]}/{names[1]}", *names)]
        text = "\n".join(lowered)
        return all(word in text for word in plain) and all(
            any(fnmatchcase(name, glob) for name in lowered) for glob in globs
        )

    return fits
