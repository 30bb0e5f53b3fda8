"""`sae-encode stats`: what a folder of features holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from encoder.file.folder import open_features


def stats(folder: Path, *, as_json: bool) -> None:
    """Print rows, L0, density, dead features and the SAE, per shard and in all."""
    with open_features(folder) as features:
        width = features.shape[1]
        fired = np.zeros(width, np.int64)
        shards: list[dict[str, Any]] = []
        for path, meta, matrix in zip(features.paths, features.meta, features, strict=True):
            l0 = np.diff(matrix.indptr)
            fired += np.bincount(matrix.indices, minlength=width)
            quality = meta.get("quality") or {}
            shards.append(
                {
                    "shard": path.name,
                    "rows": matrix.shape[0],
                    "nnz": int(matrix.nnz),
                    "mean_l0": round(float(l0.mean()), 4) if len(l0) else 0.0,
                    "max_l0": int(l0.max()) if len(l0) else 0,
                    "explained_variance": quality.get("explained_variance"),
                    "cosine": quality.get("cosine"),
                }
            )
        meta = features.meta[0] if features.meta else {}
        n_rows, nnz = sum(shard["rows"] for shard in shards), sum(shard["nnz"] for shard in shards)
        total = {
            "shards": shards,
            "rows": n_rows,
            "d_sae": width,
            "nnz": nnz,
            "mean_l0": round(nnz / max(1, n_rows), 4),
            "density": nnz / max(1, n_rows * width),
            "dead_features": int((fired == 0).sum()),
            **{key: meta.get(key) for key in ("sae_release", "sae_id", "sae_path", "weights_sha256", "values")},
        }
    if as_json:
        print(json.dumps(total, indent=2))
        return
    name = f"{total['sae_release']} {total['sae_id']}" if total["sae_release"] else total["sae_path"]
    print(f"{name}, {width:,} features, weights {str(total['weights_sha256'])[:12]}")
    figures = f"{n_rows:,} rows, L0 {total['mean_l0']:.1f}, density {total['density']:.4%}"
    print(f"{figures}, {total['dead_features']:,} features never fired")
    for shard in shards:
        explained = shard["explained_variance"]
        says = "" if explained is None else f", explains {explained:.1%} of the variance"
        print(
            f"    {shard['shard']}: {shard['rows']:,} rows, L0 {shard['mean_l0']:.1f} (max {shard['max_l0']:,}){says}"
        )
