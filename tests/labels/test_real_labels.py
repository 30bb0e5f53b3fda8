"""Real labels through the real machinery: 24,897 GemmaScope explanations, published byte for byte."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections import Counter
from pathlib import Path

import pytest
from harness import RELEASE, SHARED, read_back, settings_for

from saefetch.downloading.run import run_jobs
from saefetch.labels import open_labels
from saefetch.names.identity import Target
from saefetch.terminal.progress import Display
from standin import Standin, World

REAL = SHARED / "real_labels.jsonl.gz"
N_FEATURES = 1001
N_LABELS = 24_897
pytestmark = pytest.mark.skipif(not REAL.is_file(), reason=f"needs the real labels, which are not at {REAL}")


def real_labels() -> dict[tuple[str, int], str]:
    """Return (Neuronpedia id, index) -> text."""
    with gzip.open(REAL, "rt", encoding="utf-8", newline="\n") as lines:
        rows = map(json.loads, lines)
        return {(f"{row['modelId']}/{row['layer']}", int(row["index"])): row["description"] for row in rows}


@pytest.mark.parametrize(
    ("source", "n_features"),
    # One request a feature takes its time: of each layer only the first fifth.
    [("export", N_FEATURES), ("batch", N_FEATURES), ("auto", N_FEATURES), ("feature", 200)],
)
def test_every_real_label_of_25_layers_is_published_byte_for_byte(tmp_path: Path, source: str, n_features: int) -> None:
    real = real_labels()
    assert len(real) == N_LABELS
    names = sorted({name for name, _ in real})
    assert len(names) == 25
    world = World(labels=REAL)
    for name in names:
        world.add_source(*name.split("/"), N_FEATURES)
    targets = [Target(RELEASE, f"{name.split('/')[1]}/canonical", name, N_FEATURES) for name in names]

    with Standin(world, lean=True) as standin:
        settings = settings_for(standin.api_url, standin.export_url, tmp_path, source=source)
        outcomes = asyncio.run(run_jobs(targets, settings, Display(), scope=range(n_features)))
        paths = Counter((record.method, record.path, record.body) for record in standin.requests)

    assert [outcome.exit_status for outcome in outcomes] == [0] * 25
    assert [outcome.target for outcome in outcomes] == targets
    assert sum(outcome.summary.successful for outcome in outcomes) == 25 * n_features
    assert max(paths.values()) == 1, "something was asked for twice"
    n_exact = 0
    for outcome in outcomes:
        name = outcome.target.neuronpedia_id
        done = read_back(outcome, outcome.target.folder(tmp_path))
        with open_labels(tmp_path, RELEASE, outcome.target.sae_id) as labels:
            descriptions = [label.description for label in labels[:n_features]]
        for index in range(n_features):
            text = real.get((name, index))
            if text is not None:
                assert done.features[str(index)]["description"] == text, (name, index)
                assert "all_descriptions" not in done.features[str(index)]
                assert descriptions[index] == text
                n_exact += 1
    assert n_exact == sum(index < n_features for _, index in real)
    if n_features == N_FEATURES:
        assert n_exact == N_LABELS
