"""The dashboard shows features at an address as it shows those of a folder, and sees what comes."""

from __future__ import annotations

import encoding
import numpy as np
from encoding import Command, Site
from s3_server import S3Server

from dashboard.model.folder import FeaturesFolder
from encoder.stores.object_path import path_of


def test_shards_and_their_index_are_seen_when_they_come(server: S3Server, site: Site, encode: Command) -> None:
    for seed, name in enumerate("ab"):
        np.save(site.acts / f"{name}.npy", encoding.planted(50, site.weights, seed=seed).numpy())
    assert encode("run", site.acts, "--out", site.out, "--sae-path", site.params, "--quiet").status == 0
    now = 0.0
    folder = FeaturesFolder(path_of("s3://bucket/features"), lambda: now)
    assert folder.corpus() is None
    for n, name in enumerate("ab", 1):
        server.objects[f"features/{name}.npz"] = (site.out / f"{name}.npz").read_bytes()
        now += 10
        corpus = folder.corpus()
        assert corpus is not None and corpus.features.n_shards == n and corpus.index is None
    assert encode("index", "s3://bucket/features").status == 0
    now += 10
    corpus = folder.corpus()
    assert corpus is not None and corpus.index is not None
    assert np.array_equal(corpus.indptr(0, 10), encoding.read(site.out / "a.npz").indptr[:11])
