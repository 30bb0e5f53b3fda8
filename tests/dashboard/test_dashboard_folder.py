"""Data that is not there, grows, is damaged, belongs to another SAE, or is being written while it is looked at."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dashboard_data import (
    RELEASE,
    SAE_ID,
    WIDTH,
    label,
    made_up,
    published,
    write_features,
    write_labels,
    write_queue,
    write_shard,
)
from dashboard_server import Dashboard, settings_for

from dashboard.model.data import Data
from dashboard.model.downloads import is_running
from dashboard.model.folder import TRUSTED_S, FeaturesFolder
from encoder.index.build import build_index
from encoder.shard import Tokens
from saefetch.decode import Rows
from saefetch.files.lock import lock_folder
from saefetch.store.answers import Answers
from saefetch.store.store import Store


@contextmanager
def serving(folder: Path, **knobs: Any) -> Iterator[Dashboard]:
    with Dashboard(Data(settings_for(folder, **knobs))) as dashboard:
        yield dashboard


def settle(folder: Path) -> None:
    """Make the folder's last change lie a while back."""
    os.utime(folder, (1e9, 1e9))


def test_an_empty_place_says_which_commands_fill_it(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        answer = served.api("summary")
        assert answer["features"] is None and answer["labels"] is None and answer["refusal"] is None
        labels, features = answer["hints"]
        assert labels["command"].startswith(f"saefetch download --sae-release {RELEASE} --sae-id {SAE_ID}")
        assert features["command"] == "sae-encode run ACTIVATIONS --out FEATURES"
        assert served.api("documents") == {"total": 0, "documents": []}
        assert served.api("search", query="dogs")["features"] == []
        assert served.api("search", sort="max")["features"] == []
        nothing = {"total": 0, "verdict": None, "shards": [], "densities": None, "downloads": [], "queue": None}
        assert served.api("health") == nothing
        for path in ("documents/0/tokens", "rows/0", "documents/0/features", "features/0/top"):
            assert served.refused(path)[0] == 404


def test_labels_alone_can_be_searched(tmp_path: Path) -> None:
    write_labels(tmp_path / "sae")
    with serving(tmp_path) as served:
        found = served.api("search", query="cooking", limit=1)["features"][0]
        assert found["label"] == published(found["index"]) and "cooking" in found["label"]
        assert served.api("features/20")["label"] == label(20)
        assert [hint["what"] for hint in served.api("summary")["hints"]] == ["no features yet"]
        assert served.refused("features/512")[0] == 404


def test_features_alone_are_shown_without_labels(tmp_path: Path) -> None:
    write_features(tmp_path / "features")
    with serving(tmp_path) as served:
        assert set(served.api("rows/3")["active"]["label"]) == {None}
        assert served.api("features/3")["label"] is None
        assert served.api("search", query="dogs")["features"] == []
        assert served.api("search", sort="max", limit=2)["total"] == WIDTH
        assert [hint["what"] for hint in served.api("summary")["hints"]] == ["no labels yet", "no index by feature yet"]


def test_a_shard_that_is_published_is_there_at_the_next_request(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        assert served.api("summary")["features"] is None
        folder = tmp_path / "features"
        folder.mkdir()
        assert served.api("summary")["features"] is None
        for n, name in enumerate(("b", "a", "c"), 1):
            write_shard(folder / f"{name}.npz", made_up(10, n), Tokens(texts=[f"{name}{i}" for i in range(10)]))
            assert served.api("summary")["features"]["n_shards"] == n
            settle(folder)
            assert served.api("summary")["features"]["rows"] == 10 * n
        assert served.api("documents/0/tokens")["tokens"][3] == "a3"
        write_shard(folder / "a.npz", made_up(4, 9), Tokens(texts=list("wxyz")))
        assert served.api("documents/0/tokens")["tokens"] == list("wxyz")
        (folder / "c.npz").unlink()
        assert served.api("summary")["features"]["rows"] == 14


def test_a_folder_that_does_not_change_is_not_opened_again(tmp_path: Path) -> None:
    data = Data(settings_for(tmp_path))
    write_features(tmp_path / "features")
    settle(tmp_path / "features")
    first = data.folder.corpus()
    assert first is not None and data.folder.corpus() is first
    (tmp_path / "features" / "x.npz.1.tmp").write_bytes(b"half")  # changes the folder, but not what is in it for us
    assert data.folder.corpus() is first
    write_shard(tmp_path / "features" / "new.npz", made_up(3, 1))
    assert data.folder.corpus() is not first


def test_a_shard_that_is_written_over_in_its_place_is_seen(tmp_path: Path) -> None:
    """As `cp` and `scp` do it: the folder's own time of change stays as it was."""
    clock = [100.0]
    data = Data(settings_for(tmp_path))
    data.folder = FeaturesFolder(tmp_path / "features", lambda: clock[0])
    build_index(write_features(tmp_path / "features"))  # so that no shard is loaded to find its documents
    others = [
        write_shard(tmp_path / f"{texts}.npz", made_up(4, 9), Tokens(texts=[*texts])) for texts in ("wxyz", "abcd")
    ]
    with Dashboard(data) as served:
        settle(tmp_path / "features")
        assert served.api("summary")["features"]["rows"] == 208
        (tmp_path / "features" / "ids.npz").write_bytes(others[0].read_bytes())
        assert served.api("documents/5/tokens")["tokens"] == list("wxyz")
        (tmp_path / "features" / "ids.npz").write_bytes(others[1].read_bytes())
        clock[0] += TRUSTED_S + 1
        assert served.api("documents/5/tokens")["tokens"] == list("abcd")


def test_requests_at_the_same_time_get_what_each_asked_for(tmp_path: Path) -> None:
    write_labels(tmp_path / "sae")
    write_features(tmp_path / "features")
    wrong: list[object] = []
    with serving(tmp_path) as served:
        expected = {row: served.api(f"rows/{row}") for row in range(0, 40, 3)}

        def ask(number: int) -> None:
            for row in sorted(expected, key=lambda row: (row * 7 + number) % 41):
                if served.api(f"rows/{row}") != expected[row] or not served.api("search", query="dogs")["features"]:
                    wrong.append(row)

        threads = [threading.Thread(target=ask, args=[number]) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_labels_of_another_sae_are_refused_in_words_and_never_shown(tmp_path: Path) -> None:
    write_labels(
        tmp_path / "sae", sae_id="layer_5/width_16k/canonical", neuronpedia_id="gemma-2-2b/5-gemmascope-res-16k"
    )
    write_features(tmp_path / "features")
    with serving(tmp_path) as served:
        answer = served.api("summary")
        assert "are of different SAEs" in answer["refusal"] and answer["labels"] is None
        assert served.api("search", query="dogs")["features"] == []
        told = [
            served.ask(f"/api/{path}").body
            for path in ("rows/5", "features/3", "documents/1/features", "search?limit=9")
        ]
        told.append(served.ask("/api/compare?a=row:1&b=row:2").body)
        assert not any(b"references" in body or b"right to left" in body for body in told)
        write_labels(tmp_path / "sae")  # the right ones come
        assert served.api("summary")["refusal"] is None
        assert served.api("features/20")["label"] == label(20)


def test_labels_are_found_by_their_neuronpedia_id_whatever_the_features_call_their_sae(tmp_path: Path) -> None:
    other = {"sae_id": "layer_5/width_16k/canonical", "neuronpedia_id": "gemma-2-2b/5-gemmascope-res-16k"}
    write_labels(tmp_path / "sae")
    write_labels(tmp_path / "sae", **other)
    (tmp_path / "features").mkdir()
    unnamed = {"sae_release": None, "sae_id": None, "sae_path": "checkpoint", "neuronpedia_id": other["neuronpedia_id"]}
    write_shard(tmp_path / "features" / "a.npz", made_up(5, 1), **unnamed)
    with serving(tmp_path) as served:
        summary = served.api("summary")
        assert (summary["labels"]["id"], summary["refusal"]) == (other["sae_id"], None)
        assert served.api("features/20")["label"] == label(20)


def test_of_several_saes_the_default_ones_labels_are_not_taken_by_mistake(tmp_path: Path) -> None:
    write_labels(tmp_path / "sae")
    write_labels(
        tmp_path / "sae", sae_id="layer_5/width_16k/canonical", neuronpedia_id="gemma-2-2b/5-gemmascope-res-16k"
    )
    (tmp_path / "features").mkdir()
    third = {"sae_id": "layer_9/width_16k/canonical", "neuronpedia_id": "gemma-2-2b/9-gemmascope-res-16k"}
    write_shard(tmp_path / "features" / "a.npz", made_up(5, 1), **third)
    with serving(tmp_path) as served:
        summary = served.api("summary")
        assert summary["labels"] is None and summary["refusal"] is None
        assert "--sae-id layer_9/width_16k/canonical" in summary["hints"][0]["command"]


def test_the_labels_that_were_named_are_taken_even_if_others_fit(tmp_path: Path) -> None:
    other = "layer_5/width_16k/canonical"
    write_labels(tmp_path / "sae", sae_id=other)
    write_labels(tmp_path / "sae")
    write_features(tmp_path / "features")
    with serving(tmp_path, named=(RELEASE, other)) as served:
        assert f"is {SAE_ID} for the features and {other} for the labels" in served.api("summary")["refusal"]
        assert len(served.api("health")["downloads"]) == 2


def test_labels_are_looked_at_while_a_download_writes_them(tmp_path: Path) -> None:
    folder = write_labels(tmp_path / "sae", finished=False)
    with closing(Store.open(folder)) as store, serving(tmp_path) as served, lock_folder(folder):
        for i in range(3):
            with store.transaction() as connection:  # a reader does not wait for a writer, nor a writer for a reader
                connection.execute("INSERT OR REPLACE INTO meta VALUES ('x', 1)")
                assert served.api("features/0")["explanations"][0]["text"].startswith("<script>")
            rows = Rows(features=[(12, 1.0 + i, 0.1, b"[]", b"[]")], explanations=[(12, "t", "m", f"zebra {i}")])
            store.commit(Answers(rows=rows), "2026-11-25T00:00:00Z")
            assert served.api("features/12")["label"].startswith("zebra")
            assert served.api("search", query=f"zebra {i}")["features"][0]["index"] == 12
            assert served.api("health")["downloads"][0]["state"] == "running"
        store.settle()  # nothing of ours is open that would keep the log from being folded in
        assert not (folder / "labels.sqlite-wal").exists()


def test_a_download_runs_while_the_owner_of_its_lock_lives(tmp_path: Path) -> None:
    assert not is_running(tmp_path)
    for stale in ("", "x", "0\n", "-1\n", "4194305\n", "9" * 50):
        (tmp_path / ".lock").write_text(stale)
        assert not is_running(tmp_path), stale
    (tmp_path / ".lock").write_text(f"{os.getpid()}\n")
    assert is_running(tmp_path)


def test_a_queue_is_shown_and_left_as_it_is(tmp_path: Path) -> None:
    write_queue(tmp_path / "queue")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "queue").rglob("*")}
    with serving(tmp_path, queue=tmp_path / "queue") as served:
        queue = served.api("health")["queue"]
    assert (queue["ready"], queue["done"], [held["job"] for held in queue["claimed"]]) == (2, 0, ["b-claimed"])
    assert queue["failed"] == [{"job": "a-failed", "error": "<b>NaN</b> in row 3"}]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "queue").rglob("*")} == before


def test_the_queue_that_fills_the_features_is_found(tmp_path: Path) -> None:
    write_queue(tmp_path / "features" / ".queue")
    with serving(tmp_path) as served:
        assert served.api("health")["queue"]["folder"] == "FEATURES/.queue"


def test_a_folder_that_is_no_queue_says_so(tmp_path: Path) -> None:
    with serving(tmp_path, queue=tmp_path) as served:
        assert "is no queue" in served.api("health")["queue"]["error"]


@pytest.mark.parametrize("what", ["cut", "columns", "other"])
def test_a_damaged_file_is_named_in_one_line(tmp_path: Path, what: str, capfd: pytest.CaptureFixture[str]) -> None:
    write_features(tmp_path / "features")
    path = tmp_path / "features" / "ids.npz"
    if what == "other":
        write_shard(path, made_up(5, 1), weights_sha256="cd" * 32)
    elif what == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        content = path.read_bytes()
        at = content.index(np.array([2, 3, 4, 5, 6, 8], np.int32).tobytes())
        path.write_bytes(content[:at] + b"\xff\xff\xff\x7f" + content[at + 4 :])
    with serving(tmp_path) as served:
        answer = served.ask("/api/rows/172")  # of ids.npz, the one with all features
        assert answer.status == 500 and "ids.npz" in answer.error
    assert "Traceback" not in capfd.readouterr().err


def test_a_damaged_store_is_named_in_one_line(tmp_path: Path) -> None:
    folder = write_labels(tmp_path / "sae")
    (folder / "labels.sqlite").write_bytes(b"no database" * 100)
    with serving(tmp_path) as served:
        answer = served.ask("/api/summary")
        assert answer.status == 500 and "labels.sqlite" in answer.error and "not a database" in answer.error
        assert served.ask("/").status in (200, 404)  # the page itself is not concerned


def test_odd_texts_in_a_shard_come_through(tmp_path: Path) -> None:
    texts = ["\ud800lone", "nul\0", "</script>", "\u2028", "x" * 100]
    meta = {"notes": ["\ud83d half"], "quality": {"explained_variance": "much"}, "warning": None}
    (tmp_path / "features").mkdir()
    write_shard(tmp_path / "features" / "a.npz", made_up(5, 1), Tokens(texts=texts), **meta)
    with serving(tmp_path) as served:
        assert served.api("documents/0/tokens")["tokens"] == ["\ufffd\ufffd\ufffdlone", *texts[1:]]
        (shard,) = served.api("health")["shards"]
        assert shard["explained_variance"] is None and shard["notes"][0].endswith(" half")
