"""`/api/health`: shards, downloads and the queue, as they are at this moment. The page asks every two seconds.

What a shard's headers do not say is counted once and kept. A request counts for about BUDGET_S; what it has not counted
by then is null in its answer, and a later request finds it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar, cast

import numpy as np

from dashboard.model.corpus import Corpus
from dashboard.model.look import Look
from dashboard.model.places import Places
from dashboard.model.shards import L0, l0_of
from dashboard.views.excluded import excluded_rows
from dashboard.views.going_on import downloads, queue
from dashboard.views.parameters import Parameters
from dashboard.views.shapes.state import Densities, Health, ShardHealth, Verdict

PARAMETERS = ("offset", "limit")
MOST_SHARDS = 1000
BUDGET_S = 0.1
BINS_A_DECADE = 5
DENSE = 0.1
"""The share of tokens above which a feature is called dense."""
ANOTHER_SAE = "this does not look like the right SAE"
"""How the warning of a shard begins that was encoded with an SAE of other activations (`encoder.sae.quality`)."""
T = TypeVar("T")


def health(look: Look, parameters: Parameters) -> Health:
    offset, limit = parameters.number("offset"), parameters.number("limit", 100, MOST_SHARDS)
    numbers = [] if look.corpus is None else worst_first(look.corpus)
    chosen, places = numbers[offset : offset + limit], look.settings.places
    return {
        "total": len(numbers),
        "verdict": None if look.corpus is None else verdict(look.corpus),
        "shards": list(shards(look.corpus, chosen, BUDGET_S, places)) if look.corpus else [],
        "densities": None if look.corpus is None else densities(look.corpus),
        "downloads": downloads(look),
        "queue": queue(look),
    }


def worst_first(corpus: Corpus) -> Sequence[int]:
    """Return the shards with a warning first, of these and of the others those of which the SAE explains least."""

    def badness(shard: int) -> tuple[bool, float]:
        meta = corpus.features.meta[shard]
        explained = _number(meta.get("quality"), "explained_variance")
        return not meta.get("warning"), math.inf if explained is None else explained

    return corpus.kept.get("worst first", lambda: sorted(corpus.shards, key=badness))


def verdict(corpus: Corpus) -> Verdict:
    """Say in a few numbers whether the shards are fine."""
    warnings = [str(corpus.features.meta[shard].get("warning") or "") for shard in corpus.shards]
    another = sum(warning.startswith(ANOTHER_SAE) for warning in warnings)
    warned = sum(map(bool, warnings))
    return {
        "fine": len(warnings) - warned,
        "another_sae": another,
        "other_warnings": warned - another,
        "rows": corpus.n_rows,
        "excluded": excluded_rows(corpus.excluded),
    }


def densities(corpus: Corpus) -> Densities | None:
    """Return how many features fire on which share of the tokens; None without an index of these shards."""
    if corpus.index is None or corpus.index_state != "ready":
        return None
    return corpus.kept.get("densities", lambda: _densities(cast(Any, corpus.index).density))


def _densities(density: Any) -> Densities:
    firing = density[density > 0]
    first = math.floor(math.log10(firing.min())) if len(firing) else -1
    edges = 10.0 ** (np.arange(first * BINS_A_DECADE, 1) / BINS_A_DECADE)
    edges[-1] = 1  # exactly
    dead = len(density) - len(firing)
    counts = np.histogram(firing, edges)[0]
    return {
        "dead": dead,
        "dense": int((density > DENSE).sum()),
        "dense_from": DENSE,
        "histogram": {"edges": [0.0, *edges.tolist()], "counts": [dead, *counts.tolist()]},
    }


def shards(corpus: Corpus, numbers: Sequence[int], budget_s: float, places: Places) -> Iterator[ShardHealth]:
    """Describe shards; what is not counted within `budget_s` is None."""
    deadline = time.monotonic() + budget_s

    def count(shard: int, what: str, find: Callable[[], T]) -> T | None:
        has_time = time.monotonic() < deadline
        return corpus.of_shard(shard, what, find) if has_time else corpus.known_of_shard(shard, what)

    for i in numbers:
        yield _shard(corpus, i, count(i, "l0", partial(l0_of, corpus.features, i)), places)


def _shard(corpus: Corpus, i: int, l0: L0 | None, places: Places) -> ShardHealth:
    file = corpus.features.files[i]
    meta, rows = file.meta, file.shape[0]
    excluded = corpus.excluded_in_shard(i)
    quality, notes, release = meta.get("quality"), meta.get("notes"), meta.get("sae_release")
    return {
        "name": corpus.name(i),
        "rows": rows,
        "excluded": excluded_rows(excluded),
        "nnz": file.nnz,
        "mean_l0": (file.nnz - excluded.nnz) / max(1, rows - excluded.n_rows),
        "max_l0": None if l0 is None else l0.largest,
        "l0_histogram": None if l0 is None else {"edges": l0.edges, "counts": l0.counts},
        "explained_variance": _number(quality, "explained_variance"),
        "explained_variance_of_all": _number(quality, "explained_variance_of_all"),
        "cosine": _number(quality, "cosine"),
        "warnings": [places.hide(str(meta["warning"]))] if meta.get("warning") else [],
        "notes": [places.hide(str(note)) for note in notes] if isinstance(notes, list) else [],
        "sae": f"{release} {meta.get('sae_id')}" if release else places.hide(str(meta.get("sae_path") or "")),
        "dtype_read": str(meta.get("dtype_read") or ""),
        "values": file.members["data"].dtype.name,
    }


def _number(quality: Any, name: str) -> float | None:
    value = quality.get(name) if isinstance(quality, dict) else None
    return float(value) if isinstance(value, int | float) else None
