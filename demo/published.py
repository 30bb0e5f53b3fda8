"""The names of the demo's SAE, and the files that a model hub and Neuronpedia would have of it.

files/hub/layer_3/width_2k/    cfg.json, sae_weights.safetensors: a repository, as SAELens saves an SAE
files/features.jsonl.gz        a line a feature, with the names that Neuronpedia gives its columns
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = "saefetch-demo/all-minilm-l6-v2-saes"
SAE_ID = "layer_3/width_2k"
MODEL_ID, SOURCE_ID = "all-minilm-l6-v2", "3-demo-res-2k"
NEURONPEDIA_ID = f"{MODEL_ID}/{SOURCE_ID}"
D_SAE = 2048
FILES = Path(__file__).resolve().parent / "files"
HUB, FEATURES = FILES / "hub", FILES / "features.jsonl.gz"
EXPLAINER = "top-tokens"
"""The method that made the labels: the rule in `naming`. No language model took part."""


@dataclass(frozen=True, slots=True)
class Published:
    """What Neuronpedia would publish of a feature. A feature that fires too seldom has no label."""

    label: str | None
    positive: list[str]
    negative: list[str]
    max_activation: float
    density: float


def write_features(path: Path, features: Iterable[Published]) -> None:
    """Write the lines, the same bytes for the same features."""
    with path.open("wb") as raw, gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as packed:
        for index, feature in enumerate(features):
            explanation = {"description": feature.label, "typeName": EXPLAINER, "explanationModelName": None}
            row = {
                "modelId": MODEL_ID,
                "layer": SOURCE_ID,
                "index": index,
                "maxActApprox": round(feature.max_activation, 4),
                "frac_nonzero": round(feature.density, 7),
                "pos_str": feature.positive,
                "neg_str": feature.negative,
                "explanations": [] if feature.label is None else [explanation],
            }
            packed.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
