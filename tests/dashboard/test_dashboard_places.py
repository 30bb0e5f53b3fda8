"""No answer says where on this machine something lies."""

from __future__ import annotations

from pathlib import Path

import pytest
from dashboard_data import write_features, write_labels, write_queue
from dashboard_server import Dashboard, settings_for

from dashboard.model.data import Data
from dashboard.views.places import without_places


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/me/acts/a.npy: row 3 holds NaN", "a.npy: row 3 holds NaN"),
        ("sae-encode index /data/run 7/features", "sae-encode index run 7/features"),
        ("saefetch download --data-dir '/data/sae'", "saefetch download --data-dir 'sae'"),
        ("see https://www.neuronpedia.org/gemma-2-2b/5-x/7", "see https://www.neuronpedia.org/gemma-2-2b/5-x/7"),
        ("<b>NaN</b>, 3/4 and/or w/o, ./here/it ~/there", "<b>NaN</b>, 3/4 and/or w/o, ./here/it ~/there"),
        ("layer_16/width_16k/canonical", "layer_16/width_16k/canonical"),
    ],
)
def test_a_path_is_shown_by_its_last_part(text: str, shown: str) -> None:
    assert without_places({"a": [text, 7, None]}) == {"a": [shown, 7, None]}


def test_a_path_below_the_folder_of_the_command_is_relative_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert without_places(f"index {tmp_path}/out/features") == "index out/features"


def test_no_answer_names_the_place_of_the_folders(tmp_path: Path) -> None:
    write_labels(tmp_path / "sae")
    write_features(tmp_path / "features")
    write_queue(tmp_path / "queue")
    with Dashboard(Data(settings_for(tmp_path, queue=tmp_path / "queue"))) as served:
        asked = ("summary", "health", "documents", "features/3", "features/3/top", "rows/1", "search?query=dogs")
        answers = [served.ask(f"/api/{path}").body.decode() for path in asked]
    assert not [answer for answer in answers if str(tmp_path) in answer or str(tmp_path.parent) in answer]
    assert "sae-encode index features" in answers[4], "what has to be done is still said"
