"""The dashboard over a folder with the features of several SAEs, and over an index in another folder."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from dashboard_data import RELEASE, SAE_ID, write_features
from dashboard_server import Dashboard, settings_for

from dashboard.cli.run import features_of
from dashboard.errors import DashboardError
from dashboard.model.data import Data
from encoder.index.build import build_index

PLAIN = SAE_ID.replace("/", "_")


@pytest.fixture
def several(tmp_path: Path) -> Path:
    """Features of two SAEs, the second of which is the one that the made-up features say."""
    made = tmp_path / "made"
    write_features(made)
    for name in ("another", PLAIN):
        shutil.copytree(made, tmp_path / "all" / RELEASE / name)
    return tmp_path / "all"


def test_of_several_saes_the_named_one_is_shown(several: Path) -> None:
    assert features_of(several, None, (RELEASE, SAE_ID)) == (several / RELEASE / PLAIN, None)
    assert features_of(several / RELEASE / "another", None, None) == (several / RELEASE / "another", None)
    shutil.rmtree(several / RELEASE / "another")
    assert features_of(several, None, None) == (several / RELEASE / PLAIN, None), "the only one needs no name"


def test_without_a_name_those_that_there_are_are_listed(several: Path) -> None:
    with pytest.raises(DashboardError) as refused:
        features_of(several, None, None)
    assert f"has the features of 2 SAEs; name one: {RELEASE}/another, {RELEASE}/{PLAIN}" in str(refused.value)
    assert "--sae-release R --sae-id ID" in str(refused.value)
    with pytest.raises(DashboardError, match="has no SAE"):
        features_of(several, None, (RELEASE, "layer_3"))


def test_an_index_in_another_folder_is_found_when_told(several: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    of_sae, of_index = features_of(several, index, (RELEASE, SAE_ID))
    assert of_index == index / RELEASE / PLAIN / "features.csc"
    settings = replace(settings_for(tmp_path), features=of_sae, index=of_index)
    with Dashboard(Data(settings)) as served:
        told = served.api("summary")["features"]["index"]
        assert told["state"] == "missing" and told["command"] == "sae-encode index FEATURES --out INDEX"
    build_index(of_sae, of_index.parent)
    with Dashboard(Data(settings)) as served:
        assert served.api("summary")["features"]["index"]["state"] == "ready"
    assert not (of_sae / "features.csc").exists()
