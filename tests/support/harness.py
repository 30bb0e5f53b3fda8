"""What the tests of downloads share: a made-up SAE, and `download`, which runs the real thing against a stand-in."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from saefetch.downloading.outcome import Outcome, Summary
from saefetch.downloading.run import run_jobs
from saefetch.names.identity import Target
from saefetch.settings import Settings
from saefetch.terminal.progress import Display
from standin import Explanation, Feature, Standin, World

MODEL, SOURCE = "gemma-2-2b", "16-gemmascope-res-16k"
NEURONPEDIA_ID = f"{MODEL}/{SOURCE}"
RELEASE, SAE_ID = "gemma-scope-2b-pt-res-canonical", "layer_16/width_16k/canonical"
EXPORT_PREFIX = f"v1/{NEURONPEDIA_ID}/"
SOURCES = ("export", "batch", "feature", "auto")
SHARED = Path(__file__).resolve().parents[3] / "shared" / "neuronpedia"
FIVE_KEYS = ["description", "top_positive_tokens", "top_negative_tokens", "max_activation", "has_explanations"]


@dataclass
class Download:
    """How a download ended, and what it left behind. `raw` are the bytes of `feature_labels.json`, if there are any."""

    outcome: Outcome
    folder: Path
    raw: bytes = b""
    labels: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def summary(self) -> Summary:
        return self.outcome.summary

    @property
    def status(self) -> int:
        return self.outcome.exit_status

    @property
    def features(self) -> dict[str, dict[str, Any]]:
        features: dict[str, dict[str, Any]] = self.labels["features"]
        return features

    @property
    def descriptions(self) -> list[str | None]:
        return [entry["description"] for entry in self.features.values()]

    def failed(self) -> list[int]:
        """Return the features that could not be had."""
        return [int(index) for index, entry in self.features.items() if "error" in entry]


def make_world(n_features: int = 300, **knobs: Any) -> World:
    world = World()
    world.add_source(MODEL, SOURCE, n_features, **knobs)
    return world


def explain(
    text: str | None, kind: str | None = "oai_token-act-pair", model: str | None = "gpt-4o-mini"
) -> Explanation:
    return Explanation(text, kind, model, f"cm{abs(hash((text, kind, model)))}")


def plant(world: World, index: int, *explanations: Explanation | str | None, max_act: float | None = 1.5) -> Feature:
    """Make a feature have just these explanations."""
    whole = tuple(e if isinstance(e, Explanation) else explain(e) for e in explanations)
    feature = Feature(index, whole, (" a", "b"), ("c",), max_act, 0.01)
    world.override(MODEL, SOURCE, feature)
    return feature


def target(n_features: int | None = 300, neuronpedia_id: str = NEURONPEDIA_ID, sae_id: str = SAE_ID) -> Target:
    return Target(RELEASE, sae_id, neuronpedia_id, n_features)


def settings_for(api_url: str, export_url: str, data_dir: Path, **knobs: Any) -> Settings:
    """Fast and impatient, unless told otherwise."""
    given = {"source": "auto", "requests_per_second": 1e5, "max_attempts": 2, "max_wait_s": 5.0} | knobs
    return Settings(api_url=api_url, export_url=export_url, data_dir=data_dir, **given)


def download(
    standin: Standin,
    data_dir: Path,
    source: str = "batch",
    *,
    of: Target | None = None,
    scope: range | None = None,
    refresh: bool = False,
    **knobs: Any,
) -> Download:
    """Download one SAE, by default the first of the stand-in's, and read what was published."""
    of = of or _first(standin)
    settings = settings_for(standin.api_url, standin.export_url, data_dir, source=source, **knobs)
    (outcome,) = asyncio.run(run_jobs([of], settings, Display(), scope=scope, refresh=refresh))
    return read_back(outcome, of.folder(data_dir))


async def downloading(
    standin: Standin,
    data_dir: Path,
    source: str = "batch",
    *,
    of: Target | None = None,
    display: Display | None = None,
    **knobs: Any,
) -> Download:
    """Do as `download` does inside a running loop, such as one of virtual time, in which the stand-in runs too."""
    of = of or _first(standin)
    settings = settings_for(standin.api_url, standin.export_url, data_dir, source=source, **knobs)
    (outcome,) = await run_jobs([of], settings, display or Display())
    return read_back(outcome, of.folder(data_dir))


def _first(standin: Standin) -> Target:
    first = standin.world.sources[0]
    return target(first.n_features, f"{first.model_id}/{first.source_id}")


def read_back(outcome: Outcome, folder: Path) -> Download:
    done = Download(outcome, folder)
    path = folder / "feature_labels.json"
    if path.is_file():
        done.raw = path.read_bytes()
        done.labels = json.loads(done.raw)
        done.metadata = json.loads((folder / "metadata.json").read_bytes())
    return done


def asked(standin: Standin) -> list[list[int]]:
    """Return the indices of each batch that was posted, in order of arrival."""
    return [[element["index"] for element in record.json()] for record in standin.requests if record.method == "POST"]


def n_asked(standin: Standin, kind: str) -> int:
    """Count the requests of one kind: LIST, OBJECT, POST /api/features or GET /api/feature."""
    counts = standin.stats()["by_path"]
    assert isinstance(counts, dict)
    return counts.get(kind, 0)
