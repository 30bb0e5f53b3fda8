"""The two files that people read: their shape to the letter, and the same bytes from the same store."""

from __future__ import annotations

import json
import math
import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from harness import FIVE_KEYS, NEURONPEDIA_ID, RELEASE, SAE_ID, download, explain, make_world, plant, target
from hypothesis import given, settings
from hypothesis import strategies as st

import saefetch
from saefetch.decode import Rows
from saefetch.explanations import Preference
from saefetch.publish import SaeInfo, publish
from saefetch.store.answers import Answers, ExportObject
from saefetch.store.store import Store
from standin import Fault, Feature, Respond, Standin

INFO_KEYS = ["release", "sae_id", "neuronpedia_id", "num_features", "downloaded_at"]
STATS_KEYS = ["total_features", "with_descriptions", "successful", "failed"]
WHEN = "2026-11-22T18:34:00Z"


def strict(raw: bytes) -> Any:
    """Parse as the standard says: no NaN, no duplicate keys, valid UTF-8."""

    def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({key for key, _ in pairs}) == len(pairs)
        return dict(pairs)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} in the file")

    return json.loads(raw.decode("utf-8", "strict"), object_pairs_hook=no_duplicates, parse_constant=refuse)


def info(n_features: int) -> SaeInfo:
    return SaeInfo(RELEASE, SAE_ID, NEURONPEDIA_ID, n_features, WHEN)


def publish_to(folder: Path, answers: list[Answers], n_features: int, preference: Preference = Preference()) -> bytes:  # noqa: B008
    """Commit the answers into a new store and publish it; return the bytes of `feature_labels.json`."""
    store = Store.open(folder)
    try:
        for each in answers:
            store.commit(each, WHEN)
        publish(store, info(n_features), preference, source="export", version="1")
    finally:
        store.close()
    return (folder / "feature_labels.json").read_bytes()


@pytest.mark.parametrize("source", ["export", "batch", "auto"])
def test_both_files_have_the_shape_of_the_contract(tmp_path: Path, source: str) -> None:
    world = make_world(1200, missing={0, 700}, absent_from_export={8})
    plant(world, 2, "one", "two")
    plant(world, 3, "")
    plant(world, 4, " ", "not blank")
    world.override("gemma-2-2b", "16-gemmascope-res-16k", Feature(5, (), tuple("abcdefghijklm"), (), None, 0.0))
    before = datetime.now(UTC).replace(microsecond=0)
    with Standin(world, lean=True) as standin:
        done = download(standin, tmp_path, source)

    labels, metadata = strict(done.raw), strict((done.folder / "metadata.json").read_bytes())
    assert list(labels) == ["sae_info", "features", "stats"]
    sae_info, features, stats = labels["sae_info"], labels["features"], labels["stats"]
    assert list(sae_info) == INFO_KEYS
    when = sae_info.pop("downloaded_at")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", when)
    assert before <= datetime.fromisoformat(when) <= datetime.now(UTC)
    assert sae_info == {
        "release": RELEASE,
        "sae_id": "layer_16/width_16k/canonical",
        "neuronpedia_id": NEURONPEDIA_ID,
        "num_features": 1200,
    }
    assert list(features) == [str(index) for index in range(1200)]
    for entry in features.values():
        assert list(entry)[:5] == FIVE_KEYS
        assert list(entry)[5:] in ([], ["all_descriptions"], ["error"])
        assert entry["description"] is None or (type(entry["description"]) is str and entry["description"].strip())
        for tokens in (entry["top_positive_tokens"], entry["top_negative_tokens"]):
            assert type(tokens) is list
            assert len(tokens) <= 10
            assert all(type(token) is str for token in tokens)
        assert entry["max_activation"] is None or type(entry["max_activation"]) in (int, float)
        assert type(entry["has_explanations"]) is bool
        assert not (entry["description"] is not None and not entry["has_explanations"])
        if "error" in entry:
            assert type(entry["error"]) is str
            assert list(entry.values())[:5] == [None, [], [], None, False]
        if "all_descriptions" in entry:
            assert all(type(text) is str for text in entry["all_descriptions"])
            assert len(entry["all_descriptions"]) > 1
            assert entry["description"] in (entry["all_descriptions"][0], None)

    assert list(stats) == STATS_KEYS
    gone = {0, 8, 700} if source == "export" else {0, 700}
    assert stats == {
        "total_features": 1200,
        "with_descriptions": sum(entry["description"] is not None for entry in features.values()),
        "successful": 1200 - len(gone),
        "failed": len(gone),
    }
    assert features["2"]["description"] in ("one", "two")
    assert sorted(features["2"]["all_descriptions"]) == ["one", "two"]
    assert (features["3"]["description"], features["3"]["has_explanations"]) == (None, True)
    assert features["4"]["description"] == "not blank"
    assert sorted(features["4"]["all_descriptions"]) == [" ", "not blank"]
    assert (features["5"]["top_positive_tokens"], features["5"]["has_explanations"]) == (list("abcdefghij"), False)

    assert metadata["sae_info"] == {**sae_info, "downloaded_at": when}
    assert metadata["stats"] == stats
    assert {key: metadata[key] for key in sae_info} == sae_info
    assert {key: metadata[key] for key in stats} == stats
    assert (metadata["source"], metadata["missing"]) == (source, len(gone))
    assert metadata["saefetch_version"] == saefetch.__version__
    known = ["sae_info", "stats", *INFO_KEYS, *STATS_KEYS, "source", "missing", "saefetch_version"]
    assert sorted(metadata) == sorted(known)
    assert done.summary.with_descriptions == stats["with_descriptions"]
    assert done.summary.labels_path == str(done.folder / "feature_labels.json")
    assert done.summary.metadata_path == str(done.folder / "metadata.json")
    assert sorted(path.name for path in done.folder.iterdir()) == [
        "feature_labels.json",
        "labels.sqlite",
        "metadata.json",
    ]


def test_what_failed_and_what_is_missing_both_count_as_failed_in_the_file(tmp_path: Path) -> None:
    broken = Fault(Respond(500), match=lambda r: r.method == "POST" and 5 in [e["index"] for e in r.json()], times=None)
    with Standin(make_world(100, missing={7}), faults=[broken]) as standin:
        done = download(standin, tmp_path, "batch")
    stats = done.labels["stats"]
    assert (stats["successful"], stats["failed"], done.metadata["missing"]) == (98, 2, 1)
    assert (done.summary.successful, done.summary.missing, done.summary.failed) == (98, 1, 1)
    for index in ("5", "7"):
        assert {**done.features[index], "error": ""} == {
            "description": None,
            "top_positive_tokens": [],
            "top_negative_tokens": [],
            "max_activation": None,
            "has_explanations": False,
            "error": "",
        }


def test_an_sae_of_one_feature_and_one_of_none_that_exist(tmp_path: Path) -> None:
    with Standin(make_world(1)) as standin:
        assert list(download(standin, tmp_path, "batch").features) == ["0"]
    assert strict(publish_to(tmp_path, [], 0))["features"] == {}


def test_the_same_run_again_changes_no_byte_and_no_time(tmp_path: Path) -> None:
    with Standin(make_world(300)) as standin:
        first = download(standin, tmp_path, "batch")
        stamps = {path.name: path.stat().st_mtime_ns for path in first.folder.glob("*.json")}
        again = download(standin, tmp_path, "batch")
    assert again.raw == first.raw
    assert {path.name: path.stat().st_mtime_ns for path in first.folder.glob("*.json")} == stamps


def test_a_file_that_was_deleted_is_written_again_from_the_store_without_a_request(tmp_path: Path) -> None:
    with Standin(make_world(120)) as standin:
        first = download(standin, tmp_path, "batch")
        (first.folder / "feature_labels.json").unlink()
        again = download(standin, tmp_path, "batch")
    assert (again.raw, again.summary.requests) == (first.raw, 0)


@pytest.mark.parametrize("name", ["feature_labels.json", "metadata.json"])
def test_a_file_that_was_cut_short_is_written_again_from_the_store_without_a_request(tmp_path: Path, name: str) -> None:
    """As where a folder was moved and the copying was broken off."""
    with Standin(make_world(60)) as standin:
        whole = download(standin, tmp_path, "batch")
        content = (whole.folder / name).read_bytes()
        (whole.folder / name).write_bytes(content[:100])
        done = download(standin, tmp_path, "batch")
    assert (done.folder / name).read_bytes() == content and done.summary.requests == 0


def test_another_preference_publishes_again_from_the_store_without_a_request(tmp_path: Path) -> None:
    world = make_world(50)
    plant(world, 3, explain("of type a", "a"), explain("of type b", "b"))
    with Standin(world) as standin:
        for types in (("a", "b"), ("b", "a")):
            done = download(standin, tmp_path, "batch", explanation_types=types)
            assert done.features["3"]["description"] == f"of type {types[0]}"
            assert done.features["3"]["all_descriptions"] == [f"of type {kind}" for kind in types]
        assert done.summary.requests == 0


def test_a_width_that_shrinks_or_grows_is_published_with_just_its_features(tmp_path: Path) -> None:
    with Standin(make_world(300)) as standin:
        for n_features in (200, 100, 300):
            done = download(standin, tmp_path, "batch", of=target(n_features))
            assert list(done.features) == [str(index) for index in range(n_features)]
            assert done.status == 0
    assert done.summary.resumed == 200


# -- properties -------------------------------------------------------------------------------------------------------

TEXT = st.text(max_size=6) | st.sampled_from(
    ["", " ", "\x00", "\u2028", "\x7f\x01", '"\\</script>', "\N{GRINNING FACE}"]
)
TOKENS = st.lists(TEXT, max_size=12)
NUMBER = st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**6), 10**6).map(float)
N = 12
FEATURE = st.tuples(st.integers(0, N - 1), NUMBER, NUMBER, TOKENS, TOKENS)
EXPLANATION = st.tuples(st.integers(0, N - 1), st.sampled_from(["", "a", "b"]), st.sampled_from(["", "m"]), TEXT)


@st.composite
def an_export(draw: st.DrawFn) -> list[Answers]:
    """Objects of an export, in any cut: a feature's rows may be in several objects, and not say the same of it."""
    features = draw(st.lists(FEATURE, max_size=2 * N))
    objects = []
    for number in range(draw(st.integers(1, 4))):
        rows = Rows()
        for row in draw(st.lists(st.sampled_from(features), max_size=8) if features else st.just([])):
            index, max_act, share, positive, negative = row
            tokens = [json.dumps(each[:10]).encode() for each in (positive, negative)]
            rows.features.append((index, max_act, share, tokens[0], tokens[1]))
        rows.explanations += draw(st.lists(EXPLANATION, max_size=8))
        objects.append(Answers(rows, export_object=ExportObject(f"k{number}", f'"{number}"', 1)))
    return objects


@settings(max_examples=25, deadline=None)
@given(an_export(), st.randoms(use_true_random=False))
def test_any_order_of_completion_publishes_identical_bytes_and_they_are_valid(
    objects: list[Answers], draw: Any
) -> None:
    preference = Preference(("b", "a"), ("m",))
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        raw = publish_to(Path(first), objects, N, preference)
        shuffled = list(objects)
        draw.shuffle(shuffled)
        assert publish_to(Path(second), shuffled, N, preference) == raw
    published = strict(raw)
    assert list(published["features"]) == [str(index) for index in range(N)]
    rows = [row for each in objects for row in each.rows.features]
    for index in range(N):
        entry = published["features"][str(index)]
        mine = {
            (text, kind, model) for each in objects for i, kind, model, text in each.rows.explanations if i == index
        }
        assert entry["has_explanations"] == bool(mine)
        texts = [text for text, _, _ in mine]
        assert sorted(entry.get("all_descriptions", texts)) == sorted(texts)
        assert entry["description"] in ([text for text in texts if text.strip()] or [None])
        served = [row for row in rows if row[0] == index]
        if served:
            whole = (entry["max_activation"], entry["top_positive_tokens"], entry["top_negative_tokens"])
            assert whole in [(row[1], json.loads(row[3]), json.loads(row[4])) for row in served]
            assert entry["max_activation"] is None or math.isfinite(entry["max_activation"])
    stats = published["stats"]
    assert stats["successful"] + stats["failed"] == stats["total_features"] == N
    assert stats["failed"] == sum("error" in entry for entry in published["features"].values())
    assert stats["with_descriptions"] == sum(e["description"] is not None for e in published["features"].values())
