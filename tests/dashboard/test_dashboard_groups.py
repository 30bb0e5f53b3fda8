"""Groups with names, selections as people write them, and the plot of a contrast."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from dashboard_data import made_up, write_shard
from dashboard_server import Dashboard, settings_for

from dashboard.model.data import Data
from encoder.index.build import build_index

NAMES = ("prose__tales__fox", "prose__tales__hen", "prose__letters", "verse__odes", "alone")


@pytest.fixture
def features(tmp_path: Path) -> Path:
    folder = tmp_path / "features"
    folder.mkdir()
    for seed, name in enumerate(NAMES):  # the documents are, by name: alone 0, letters 1, fox 2, hen 3, odes 4
        write_shard(folder / f"{name}.npz", made_up(10, seed))
    build_index(folder)
    return folder


@pytest.fixture
def dashboard(features: Path) -> Iterator[Dashboard]:
    with Dashboard(Data(settings_for(features.parent))) as dashboard:
        yield dashboard


def named(dashboard: Dashboard) -> dict[str, int]:
    return {group["name"]: group["n_documents"] for group in dashboard.api("groups")["groups"]}


def test_groups_are_the_folders_that_the_inputs_were_in(dashboard: Dashboard, features: Path) -> None:
    assert named(dashboard) == {"prose": 3, "verse": 1}
    for name in ("verse__odes", "alone"):
        (features / f"{name}.npz").unlink()
    assert named(dashboard) == {"prose__letters": 0, "prose__tales": 2} or named(dashboard) == {}


def test_a_file_names_groups_and_one_that_cannot_be_read_is_said(dashboard: Dashboard, features: Path) -> None:
    told = {"tales": "*tales*", "mixed": ["0", "verse__odes"], "all": "0-4"}
    (features / "groups.json").write_text(json.dumps(told))
    assert named(dashboard) == {"tales": 2, "mixed": 2, "all": 5}
    listed = dashboard.api("documents", group="mixed")["documents"]
    assert [one["address"] for one in listed] == ["alone", "verse__odes"]
    for wrong, complaint in (
        ("[", "Expecting"),
        ('{"x": 3}', "expected a selection"),
        ('{"x": "99"}', "does not exist"),
    ):
        (features / "groups.json").write_text(wrong)
        answer = dashboard.api("groups")
        assert answer["groups"] == [] and complaint in answer["error"] and "groups.json" in answer["error"]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("prose", [1, 2, 3]),
        ("*tales*", [2, 3]),
        ("prose__tales__?e*", [3]),
        ("0-1, 4", [0, 1, 4]),
        ("0 – 1 4", [0, 1, 4]),
        ("3\n1;0", [0, 1, 3]),
        ("alone..prose__letters", [0, 1]),
        ("verse,prose__letters, 0", [0, 1, 4]),
    ],
)
def test_a_selection_is_read_as_people_write_it(dashboard: Dashboard, text: str, numbers: list[int]) -> None:
    assert [one["id"] for one in dashboard.api("documents", group=text)["documents"]] == numbers
    assert dashboard.api("groups", a=text)["a"] == {"n_documents": len(numbers), "error": None}


def test_selections_that_cannot_be_read_or_overlap_are_refused(dashboard: Dashboard) -> None:
    for text in ("pro", "0-", "x*", "4-0", ","):
        assert dashboard.api("groups", a=text)["a"]["error"], text
        assert dashboard.refused("search", a=text)[0] == 400
    overlap = dashboard.api("groups", a="prose", b="*tales*,4")["overlap"]
    assert overlap == "a and b have 2 documents in common, such as prose__tales__fox: leave out of one"
    assert dashboard.refused("search", a="prose", b="3") == (
        400,
        overlap.replace("2 documents", "1 document").replace("fox", "hen"),
    )
    assert dashboard.api("groups", a="prose", b="rest")["overlap"] is None


def test_groups_are_contrasted_and_compared_by_name(dashboard: Dashboard) -> None:
    found = dashboard.api("search", a="prose", b="verse", limit=600)
    assert (found["a"], found["b"]) == ("prose", "verse")
    by_number = dashboard.api("search", a="1-3", b="4", limit=600)
    assert found["features"] == by_number["features"]
    sides = dashboard.api("compare", a="docs:prose", b="docs:4")
    assert sides["a"]["name"] == "docs:prose" and sides["b"]["name"] == "docs:verse__odes"
    one, other = dashboard.api("compare", a="docs:4", b="docs:0"), dashboard.api("compare", a="doc:4", b="doc:0")
    assert one["features"] == other["features"]


def test_the_plot_has_the_figures_of_the_list_and_a_part_of_it_filters_the_list(dashboard: Dashboard) -> None:
    plot = dashboard.api("contrast", a="prose", b="verse")
    listed = dashboard.api("search", a="prose", b="verse", limit=600)["features"]
    assert plot["total"] == len(plot["index"]) == len(listed)
    by_index = {one["index"]: (one["log_ratio"], one["z"]) for one in listed}
    assert all(by_index[i] == (x, z) for i, x, z in zip(plot["index"], plot["log_ratio"], plot["z"], strict=True))
    assert {index for index, _ in plot["labels"]} >= {listed[0]["index"], listed[-1]["index"]}
    sizes = np.abs(plot["z"])
    assert (sizes[:-1] >= sizes[1:]).all()
    within = dashboard.api("search", a="prose", b="verse", within="0,9,-1,0.5", limit=600)["features"]
    assert {one["index"] for one in within} == {i for i, (x, z) in by_index.items() if 0 <= x <= 9 and -1 <= z <= 0.5}
    assert 0 < len(within) < len(listed)
    assert dashboard.refused("search", a="prose", within="1,2")[0] == 400
