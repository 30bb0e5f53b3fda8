"""`/api/summary`: what there is, and the commands that bring what there is not."""

from __future__ import annotations

import saefetch
from dashboard.model.corpus import Corpus
from dashboard.model.downloads import count, is_running
from dashboard.model.look import Look
from dashboard.model.places import shown
from dashboard.views.excluded import excluded_rows
from dashboard.views.going_on import is_worked_on
from dashboard.views.health import verdict
from dashboard.views.parameters import Parameters
from dashboard.views.shapes.state import FeaturesSummary, Hint, LabelsSummary, Summary

PARAMETERS = ()
INDEX_HINTS = {
    "missing": "no index by feature yet",
    "stale": "the index by feature is not of these shards",
    "older": "the index by feature is of an older version: its figures are counted anew at each start",
}


def summary(look: Look, parameters: Parameters) -> Summary:
    return {
        "version": saefetch.__version__,
        "features": None if look.corpus is None else _features(look, look.corpus),
        "labels": _labels(look),
        "refusal": look.refusal and look.settings.places.hide(look.refusal),
        "hints": _hints(look),
        "neuronpedia": look.neuronpedia,
        "warned": 0 if look.corpus is None else _warned(look.corpus),
        "sae": look.settings.sae,
        "saes": look.settings.saes,
        "static": False,
        "jobs": look.settings.jobs,
        "part": None,
    }


def _warned(corpus: Corpus) -> int:
    found = verdict(corpus)
    return found["another_sae"] + found["other_warnings"]


def _features(look: Look, corpus: Corpus) -> FeaturesSummary:
    meta = corpus.features.meta[0]
    return {
        "folder": shown(look.settings.features, "FEATURES"),
        "rows": corpus.n_rows,
        "excluded": excluded_rows(corpus.excluded),
        "d_sae": corpus.d_sae,
        "nnz": corpus.nnz,
        "n_shards": len(corpus.shards),
        "n_documents": len(corpus.documents.numbers),
        "mean_l0": corpus.mean_l0,
        "has_text": any("tokens" in corpus.features.files[shard].members for shard in corpus.shards),
        "is_one_scale": corpus.is_one_scale,
        "sae": {
            "release": meta.get("sae_release"),
            "id": meta.get("sae_id"),
            "neuronpedia_id": meta.get("neuronpedia_id"),
            "path": meta.get("sae_path") and look.settings.places.hide(str(meta["sae_path"])),
            "weights_sha256": str(meta.get("weights_sha256") or ""),
        },
        "index": {
            "state": corpus.index_state,
            "has_words": corpus.index is not None and corpus.index.has_words,
            "command": look.index_command,
        },
    }


def _labels(look: Look) -> LabelsSummary | None:
    if look.labels is None or look.store is None:
        return None
    counted = count(look.store, look.labels_folder, look.kept)
    return {
        "release": look.labels.release,
        "id": look.labels.sae_id,
        "neuronpedia_id": look.labels.neuronpedia_id,
        "n_features": len(look.labels),
        "with_descriptions": counted.n_described,
        "missing": counted.progress.missing,
        "failed": counted.progress.failed,
        "complete": counted.progress.state == "complete",
    }


def _hints(look: Look) -> list[Hint]:
    hints: list[Hint] = []
    if look.labels is None and look.refusal is None:
        runs = is_running(look.labels_folder)
        hints.append({"what": "no labels yet", "command": None if runs else look.download_command})
    if look.corpus is None:
        hints.append({"what": "no features yet", "command": None if is_worked_on(look) else look.encode_command})
    elif look.corpus.index_state != "ready":
        hints.append({"what": INDEX_HINTS[look.corpus.index_state], "command": look.index_command})
    return hints
