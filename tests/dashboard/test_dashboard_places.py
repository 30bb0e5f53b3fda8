"""No answer says where on this machine something lies, and a command to copy still says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from dashboard_data import made_up, write_features, write_labels, write_queue, write_shard
from dashboard_server import Dashboard, settings_for

from dashboard.model.data import Data, Settings
from dashboard.model.places import Places
from encoder.queue.queue import Queue
from encoder.queue.ticket import Ticket
from saefetch.names.identity import DEFAULT_RELEASE, DEFAULT_SAE_ID

ASKED = (
    "summary",
    "health",
    "documents",
    "features/3",
    "features/3/top",
    "rows/1",
    "search?query=dogs",
    "documents/x/row",
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/me/acts/a.npy: row 3 holds NaN", "a.npy: row 3 holds NaN"),
        ("/data/run 7/features/a.npz: is damaged", "FEATURES/a.npz: is damaged"),
        ("sae-encode index '/data/run 7/features'", "sae-encode index 'FEATURES'"),
        ("/data/run 7/features2/a.npz", "run 7/features2/a.npz"),
        ("see https://www.neuronpedia.org/gemma-2-2b/5-x/7", "see https://www.neuronpedia.org/gemma-2-2b/5-x/7"),
        ("<b>NaN</b>, 3/4 and/or w/o, ./here/it ~/there", "<b>NaN</b>, 3/4 and/or w/o, ./here/it ~/there"),
        ("layer_16/width_16k/canonical", "layer_16/width_16k/canonical"),
    ],
)
def test_an_absolute_path_is_shown_by_its_word_or_by_its_last_part(text: str, shown: str) -> None:
    assert Places([(Path("/data/run 7/features"), "FEATURES"), (None, "QUEUE")]).hide(text) == shown


def test_a_path_is_shown_as_it_was_typed_where_that_was_relative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_features(tmp_path / "runs" / "features")
    write_queue(tmp_path / "q")
    settings = Settings(Path("sae"), Path("runs/features"), (DEFAULT_RELEASE, DEFAULT_SAE_ID), queue=Path("q"))
    with Dashboard(Data(settings)) as served:
        summary, health = served.api("summary"), served.api("health")
        assert summary["features"]["folder"] == "runs/features"
        assert summary["features"]["index"]["command"] == "sae-encode index runs/features"
        assert summary["hints"][0]["command"].endswith("--data-dir sae")
        assert health["queue"]["folder"] == "q"
        (tmp_path / "runs" / "features" / "ids.npz").write_bytes(b"PK")
        status, error = served.refused("documents")
        assert status == 500 and error.startswith("runs/features/ids.npz")


def test_no_answer_names_the_place_of_the_folders(tmp_path: Path) -> None:
    write_labels(tmp_path / "sae")
    (write_labels(tmp_path / "sae", release="damaged") / "labels.sqlite").write_bytes(b"no database" * 100)
    secret = "/home/me/secret/layer 3/sae"
    write_shard(
        tmp_path / "features" / "a.npz", made_up(9, 1), sae_release=None, sae_path=secret, notes=[f"see {secret}"]
    )
    queue = Queue(tmp_path / "queue", create=True, max_attempts=1)
    queue.submit([Ticket("a", str(tmp_path / "acts" / "a.npy"), "out/a.npz", {})])
    claim = queue.claim()
    assert claim is not None
    claim.fail(f"{tmp_path / 'acts' / 'a.npy'}: row 3 holds NaN", "a traceback")
    with Dashboard(Data(settings_for(tmp_path, queue=tmp_path / "queue"))) as served:
        answers = {path: served.ask(f"/api/{path}").body.decode() for path in ASKED}
        for path, answer in answers.items():
            assert str(tmp_path) not in answer and tmp_path.name not in answer and "/home" not in answer, path
        assert "sae-encode index FEATURES" in answers["features/3/top"], "what has to be done is still said"
        assert "sae-encode retry --queue QUEUE" in answers["health"] and "a.npy: row 3 holds NaN" in answers["health"]
        (tmp_path / "features" / "a.npz").write_bytes(b"PK")
        assert served.refused("documents")[1].startswith("FEATURES/a.npz")
