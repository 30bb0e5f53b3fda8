"""`sae-encode stats`: what a folder of features holds. Figures are of the rows that count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from encoder.arrays import I64
from encoder.file.folder import Features, open_features
from encoder.file.sae_folders import sae_folders
from encoder.labelled.density import density_match
from encoder.labelled.density import in_words as in_words_of_match
from encoder.labelled.found import labels_of
from encoder.rows import in_words

OF_SAE = ("sae_release", "sae_id", "sae_path", "weights_sha256", "values")


def stats(folder: Path, data_dir: Path, *, as_json: bool) -> None:
    """Print rows, L0, density, dead features and the SAE, per shard and in all.

    Of a folder with the features of several SAEs, the sums of each. Where labels of the SAE are below `data_dir`, the
    match of densities too.
    """
    try:
        names = list(sae_folders(folder))
    except OSError:
        names = []  # to open it is to be told why
    which: list[str | None] = [*names] or [None]
    found = [_of_sae(folder, name, data_dir) for name in which]
    if as_json:
        print(json.dumps({"saes": found} if names else found[0], indent=2))
        return
    for total in found:
        _print(total, with_shards=not names)


def _of_sae(folder: Path, sae: str | None, data_dir: Path) -> dict[str, Any]:
    with open_features(folder, sae) as features:
        total = describe(features)
        match = None
        if labels := labels_of(features, data_dir):
            with labels:
                match = density_match(features, labels)
    total["density_match"] = match
    total["density_match_says"] = in_words_of_match(match) if labels else None
    return total if sae is None else {"folder": sae, **total}


def _print(total: dict[str, Any], *, with_shards: bool) -> None:
    name = f"{total['sae_release']} {total['sae_id']}" if total["sae_release"] else total["sae_path"]
    print(f"{name}, {total['d_sae']:,} features, weights {str(total['weights_sha256'])[:12]}")
    print(
        f"{'' if with_shards else '    '}{_rows(total)}, L0 {total['mean_l0']:.1f}, density {total['density']:.4%},"
        f" {total['dead_features']:,} features never fired"
    )
    if total["density_match_says"]:
        print(f"how alike the features' densities are to Neuronpedia's: {total['density_match_says']}")
    for shard in total["shards"] if with_shards else ():
        explained = shard["explained_variance"]
        says = "" if explained is None else f", explains {explained:.1%} of the variance"
        of_all = shard["explained_variance_of_all"]
        says += "" if of_all is None else f" ({of_all:.1%} with rows of extreme norm)"
        print(f"    {shard['shard']}: {_rows(shard)}, L0 {shard['mean_l0']:.1f} (max {shard['max_l0']:,}){says}")


def describe(features: Features) -> dict[str, Any]:
    """Return what `stats` prints."""
    n_fired = np.zeros(features.shape[1], np.int64)
    shards = [_of_shard(features, i, n_fired) for i in range(features.n_shards)]
    sums = {name: sum(shard[name] for shard in shards) for name in ("rows", "rows_counted", "nnz", "nnz_counted")}
    meta = features.meta[0]
    return {
        "shards": shards,
        **sums,
        "excluded": {reason: sum(shard["excluded"][reason] for shard in shards) for reason in shards[0]["excluded"]},
        "d_sae": features.shape[1],
        "mean_l0": round(sums["nnz_counted"] / max(1, sums["rows_counted"]), 4),
        "density": sums["nnz_counted"] / max(1, sums["rows_counted"] * features.shape[1]),
        "dead_features": int((n_fired == 0).sum()),
        **{key: meta.get(key) for key in OF_SAE},
    }


def _of_shard(features: Features, i: int, n_fired: I64) -> dict[str, Any]:
    """Return the figures of a shard, and add to `n_fired` [F] on how many of its rows each feature fires."""
    (indptr, indices, _), counts = features.arrays(i), features.counts(i)
    quality = features.meta[i].get("quality") or {}
    lengths = np.diff(indptr)
    l0 = lengths[counts]
    columns = indices if counts.all() else indices[np.repeat(counts, lengths)]
    n_fired += np.bincount(columns, minlength=len(n_fired))
    return {
        "shard": features.paths[i].name,
        "rows": len(counts),
        "rows_counted": len(l0),
        "excluded": features.excluded(i),
        "nnz": len(indices),
        "nnz_counted": int(l0.sum()),
        "mean_l0": round(float(l0.mean()), 4) if len(l0) else 0.0,
        "max_l0": int(l0.max()) if len(l0) else 0,
        **{key: quality.get(key) for key in ("explained_variance", "explained_variance_of_all", "cosine")},
    }


def _rows(figures: dict[str, Any]) -> str:
    excluded = in_words(figures["excluded"])
    return f"{figures['rows']:,} rows" + (f", {excluded}" if excluded else "")
