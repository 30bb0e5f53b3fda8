"""The four ways to get labels: that they agree, what they cost, and what each trap of the server does to them."""

from __future__ import annotations

import gzip
import json
import math
import random
import re
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from harness import (
    EXPORT_PREFIX,
    MODEL,
    NEURONPEDIA_ID,
    SOURCE,
    SOURCES,
    Download,
    asked,
    download,
    explain,
    make_world,
    n_asked,
    plant,
    target,
)

from saefetch.objects import MAX_LINE
from saefetch.sources.api import spread
from standin import (
    CorruptGzip,
    Fault,
    Feature,
    Gone,
    Mangle,
    NoAnswer,
    Oversize,
    Record,
    Reset,
    Respond,
    ShortBody,
    Stall,
    Standin,
    TooMany,
    TruncateGzip,
    World,
)

API = ("batch", "feature")
POST = "POST /api/features"
SERVER_ERROR = Respond(500, {"Content-Type": "application/json"}, b'{"message":"Unknown Error"}')


def batch_with(index: int) -> Any:
    """Match posts that ask for this feature."""
    return lambda record: record.method == "POST" and index in [element["index"] for element in record.json()]


def larger_than(n: int) -> Any:
    """Match posts that ask for more than `n` features."""
    return lambda record: record.method == "POST" and len(record.json()) > n


def drop_lines(*indices: int) -> Any:
    """Return a change of an object's lines that leaves these features out."""

    def change(lines: bytes) -> bytes:
        rows = lines.split(b"\n")[:-1]
        return b"".join(row + b"\n" for row in rows if int(json.loads(row)["index"]) not in indices)

    return change


def key_of(standin: Standin, folder: str, index: int) -> str:
    """Find the object that holds a feature's (first) row."""
    for stored in standin.bucket.objects(f"{EXPORT_PREFIX}{folder}/"):
        for line in gzip.decompress(stored.read()).split(b"\n")[:-1]:
            if int(json.loads(line)["index"]) == index:
                return stored.key
    raise AssertionError(f"feature {index} is in no object of {folder}")


def four(tmp_path: Path, world: World, **knobs: Any) -> dict[str, Download]:
    """Download the same world through each source, from a server of its own."""
    done = {}
    for source in SOURCES:
        with Standin(world, features_batch=128, explanations_batch=100, **knobs) as standin:
            done[source] = download(standin, tmp_path / source, source)
    return done


def assert_the_truth(done: Download, world: World, *, but: set[int] = frozenset()) -> None:  # type: ignore[assignment]
    """Compare what was published with what the world holds, feature by feature."""
    source = world.sources[0]
    assert list(done.features) == [str(index) for index in range(source.n_features)]
    for index in range(source.n_features):
        feature, entry = world.feature(source.model_id, source.source_id, index), done.features[str(index)]
        if index in but:
            continue
        if feature is None:
            assert entry["error"] == "not on Neuronpedia"
            continue
        texts = {e.description or "" for e in feature.explanations}
        said = {text for text in texts if text.strip()}
        assert "error" not in entry, (index, entry)
        assert entry["top_positive_tokens"] == list(feature.pos_str[:10])
        assert entry["top_negative_tokens"] == list(feature.neg_str[:10])
        assert entry["max_activation"] == feature.max_act_approx
        assert entry["has_explanations"] == bool(feature.explanations)
        assert (entry["description"] in said) if said else (entry["description"] is None)
        distinct = {(e.description or "", e.type_name or "", e.model_name or "") for e in feature.explanations}
        if len(distinct) > 1:
            assert Counter(entry["all_descriptions"]) == Counter(text for text, _, _ in distinct)
        else:
            assert "all_descriptions" not in entry


# -- the same answer from all of them ---------------------------------------------------------------------------------


def test_all_sources_publish_the_same_features_and_the_truth(tmp_path: Path) -> None:
    world = make_world(500)
    plant(world, 0, " begins with a space", "two", "three")
    plant(world, 1, "", " ", "the only one that says something")
    plant(world, 2, "", "  \n")
    plant(world, 3, explain("no type", None), explain("no model", model=None), explain("neither", None, None))
    plant(world, 4, explain("twice"), explain("twice"))
    plant(world, 5, explain("same text", "np_max-act-logits"), explain("same text", "oai_token-act-pair"))
    plant(world, 6, None)
    plant(world, 7, 'line\nbreak \u2028 <b>bold</b> \N{GRINNING FACE} \x07\x7f \\u0041 " \\ مرحبا')
    world.override(MODEL, SOURCE, Feature(8, (), (), (), None, 0.0))
    world.override(MODEL, SOURCE, Feature(9, (), tuple("abcdefghijklmno"), ("", "\n", "\u2028"), 1e22, 1e-20))

    done = four(tmp_path, world)

    for source, one in done.items():
        assert one.status == 0, (source, one.outcome)
        assert (one.summary.successful, one.summary.missing, one.summary.failed) == (500, 0, 0)
        assert one.features == done["batch"].features, source
        assert one.labels["stats"] == done["batch"].labels["stats"]
    assert_the_truth(done["batch"], world)
    features = done["export"].features
    assert features["1"]["description"] == "the only one that says something"
    assert features["2"]["description"] is None
    assert features["2"]["has_explanations"] is True
    assert "all_descriptions" not in features["4"]
    assert features["5"]["all_descriptions"] == ["same text", "same text"]
    assert features["6"] == {**features["6"], "description": None, "has_explanations": True}


def test_the_bytes_between_the_braces_of_features_are_the_same_too(tmp_path: Path) -> None:
    done = four(tmp_path, make_world(1000), lean=True)
    cut = {source: one.raw[one.raw.index(b'"features"') : one.raw.index(b'"stats"')] for source, one in done.items()}
    assert len(set(cut.values())) == 1
    assert len(cut["export"]) > 100_000


def test_what_exists_nowhere_is_missing_and_what_only_the_export_lacks_is_only_missing_there(tmp_path: Path) -> None:
    world = make_world(500, missing={0, 17, 499}, absent_from_export={3, 250})

    done = four(tmp_path, world, lean=True)

    for source in ("batch", "feature", "auto"):
        assert_the_truth(done[source], world)
        assert (done[source].status, done[source].summary.missing) == (0, 3)
        assert done[source].features == done["batch"].features
    export = done["export"]
    assert_the_truth(export, world, but={0, 17, 499, 3, 250})
    assert export.failed() == [0, 3, 17, 250, 499]
    assert (export.status, export.summary.missing, export.summary.successful) == (0, 5, 495)
    assert export.summary.resumed == 0
    assert any("only the API can tell" in note for note in export.outcome.notes)
    assert {export.features[str(index)]["error"] for index in export.failed()} == {
        "not in the bulk export; only the API can tell whether it exists"
    }


def test_lone_surrogates_and_nan_and_raw_control_characters_cost_nothing_but_themselves(tmp_path: Path) -> None:
    world = make_world(260)
    plant(world, 7, "half \ud83d a pair", "sound")
    plant(world, 11, "RAW")
    world.override(MODEL, SOURCE, Feature(12, (), ("\udc00x",), ("y",), 2.5, 0.1))

    def spoil(body: bytes) -> bytes:
        body = body.replace(b'"RAW"', b'"a\x01b\tc\nd"')
        body = body.replace(b'"hasVector"', b'"odd":NaN,"hasVector"')
        return body.replace(b'"maxActApprox":1.5', b'"maxActApprox":NaN').replace(
            b'"maxActApprox": 1.5', b'"maxActApprox": NaN'
        )

    fault = Fault(Mangle(spoil), match=re.compile(r"POST|batch-|/feature/"), times=None)
    done = four(tmp_path, world, lean=True, faults=[fault])

    for source, one in done.items():
        assert (one.status, one.summary.successful) == (0, 260), (source, one.outcome)
        assert one.features == done["batch"].features, source
        assert any("malformed JSON" in note for note in one.outcome.notes)
    features = done["batch"].features
    assert features["7"]["all_descriptions"] == ["half \ufffd a pair", "sound"]
    assert features["7"]["max_activation"] is None
    assert features["11"]["description"] == "a\x01b\tc\nd"
    assert features["12"]["top_positive_tokens"] == ["\ufffdx"]
    assert features["12"]["max_activation"] == 2.5


def test_a_feature_with_nan_in_the_database_comes_from_the_export_alone(tmp_path: Path) -> None:
    world = make_world(120)
    plant(world, 40, "a label", max_act=math.nan)

    done = four(tmp_path, world)

    for source in API:
        assert (done[source].status, done[source].failed()) == (1, [40])
        assert "500" in done[source].features["40"]["error"]
    for source in ("export", "auto"):
        entry = done[source].features["40"]
        assert (done[source].status, entry["description"], entry["max_activation"]) == (0, "a label", None)


# -- what it costs ----------------------------------------------------------------------------------------------------


def test_16384_features_in_batches_of_100_are_exactly_164_requests(tmp_path: Path) -> None:
    world = make_world(16_384)
    with Standin(world, lean=True) as standin:
        done = download(standin, tmp_path, "batch")
        batches = asked(standin)
        assert len(standin.requests) == 164
        again = download(standin, tmp_path, "batch")
        assert len(standin.requests) == 164
    assert sorted(index for batch in batches for index in batch) == list(range(16_384))
    assert (done.summary.requests, done.summary.retries, done.summary.resumed) == (164, 0, 0)
    assert (done.status, done.summary.successful) == (0, 16_384)
    assert (again.summary.requests, again.summary.resumed, again.status) == (0, 16_384, 0)
    assert again.raw == done.raw


def test_every_element_of_a_batch_asks_for_one_activation(tmp_path: Path) -> None:
    with Standin(make_world(150)) as standin:
        download(standin, tmp_path, "batch", batch_size=70)
        for record in standin.requests:
            for element in record.json():
                assert element == {"modelId": MODEL, "layer": SOURCE, "index": element["index"], "maxActsToReturn": 1}
                assert type(element["index"]) is int
        assert [len(batch) for batch in asked(standin)].count(70) == 2


def test_the_feature_source_asks_for_each_feature_once(tmp_path: Path) -> None:
    with Standin(make_world(200, missing={150}), lean=True) as standin:
        done = download(standin, tmp_path, "feature")
        paths = Counter(record.path for record in standin.requests)
    assert paths == {f"/api/feature/{NEURONPEDIA_ID}/{index}": 1 for index in range(200)}
    assert (done.status, done.summary.missing) == (0, 1)


def test_the_export_is_listed_twice_and_each_object_read_once_and_nothing_else(tmp_path: Path) -> None:
    with Standin(make_world(1000), features_batch=128, explanations_batch=100) as standin:
        done = download(standin, tmp_path, "export")
        paths = Counter(record.path for record in standin.requests if record.path.startswith("/v1/"))
        objects = {o.key for o in standin.bucket.objects(EXPORT_PREFIX)}
        wanted = {f"/{key}" for key in objects if key.split("/")[-2] in ("features", "explanations")}
        assert paths == dict.fromkeys(wanted, 1)
        assert n_asked(standin, "LIST") == 2
        assert len(standin.requests) == len(wanted) + 2 == done.summary.requests
        again = download(standin, tmp_path, "export")
        assert (again.summary.requests, again.status, again.raw) == (0, 0, done.raw)


def test_auto_asks_the_api_for_just_the_gap(tmp_path: Path) -> None:
    gap = {5, 77, 420, 899}
    with Standin(
        make_world(900, absent_from_export=gap - {77}, missing={77}, all_explained=True), explanations_batch=100
    ) as standin:
        done = download(standin, tmp_path, "auto")
        assert asked(standin) == [sorted(gap)]
    assert (done.status, done.summary.missing, done.summary.successful) == (0, 1, 899)


def test_auto_asks_the_api_for_nothing_where_the_export_is_whole(tmp_path: Path) -> None:
    with Standin(make_world(400, all_explained=True)) as standin:
        assert download(standin, tmp_path, "auto").status == 0
        assert n_asked(standin, POST) == 0


def test_the_api_fills_in_an_export_that_was_downloaded_alone(tmp_path: Path) -> None:
    with Standin(make_world(300, absent_from_export={5, 6}, missing={7}, all_explained=True)) as standin:
        first = download(standin, tmp_path, "export")
        assert first.failed() == [5, 6, 7]
        then = download(standin, tmp_path, "auto")
        assert asked(standin) == [[5, 6, 7]]
        assert then.failed() == [7]
        assert (then.summary.resumed, then.summary.successful, then.status) == (297, 299, 0)


def test_what_a_batch_brought_before_is_resumed_also_where_the_export_has_it_too(tmp_path: Path) -> None:
    with Standin(make_world(300, absent_from_export={5, 200}, missing={7}, all_explained=True)) as standin:
        first = download(standin, tmp_path, "batch", scope=range(100))
        assert (first.status, first.summary.resumed) == (0, 0)
        then = download(standin, tmp_path, "auto")
        assert asked(standin)[1:] == [[200]]
        assert (then.status, then.summary.resumed, then.summary.missing) == (0, 100, 1)
        assert download(standin, tmp_path, "batch", refresh=True).summary.resumed == 0


# -- batches that fail ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [0, 37, 99])
def test_a_bad_feature_is_found_by_halving_and_fails_alone(tmp_path: Path, bad: int) -> None:
    with Standin(make_world(300), nan_features={(MODEL, SOURCE, bad)}) as standin:
        done = download(standin, tmp_path, "batch", concurrency=1)
        sizes = [len(batch) for batch in asked(standin)]
        n_requests = len(standin.requests)
    assert (done.status, done.failed(), done.summary.successful) == (1, [bad], 299)
    assert "500" in done.features[str(bad)]["error"]
    assert done.features[str(bad)] == {
        "description": None,
        "top_positive_tokens": [],
        "top_negative_tokens": [],
        "max_activation": None,
        "has_explanations": False,
        "error": done.features[str(bad)]["error"],
    }
    # 3 batches, one of them twice; 7 halvings of that, each two requests more; the culprit is asked twice.
    assert n_requests <= 3 + 1 + 2 * math.ceil(math.log2(100)) + 1
    assert sizes.count(100) == 4  # a poisoned batch makes no other one smaller


def test_three_bad_features_in_one_batch_fail_alone(tmp_path: Path) -> None:
    bad = {3, 4, 90}
    with Standin(make_world(200), nan_features={(MODEL, SOURCE, index) for index in bad}) as standin:
        done = download(standin, tmp_path, "batch")
        assert len(standin.requests) < 50
    assert (done.failed(), done.summary.failed, done.status) == (sorted(bad), 3, 1)


def test_the_next_run_retries_just_what_failed(tmp_path: Path) -> None:
    faults = [Fault(SERVER_ERROR, match=batch_with(37), times=None)]
    with Standin(make_world(300), faults=faults) as standin:
        assert download(standin, tmp_path, "batch").failed() == [37]
        standin.faults.clear()
        before = len(standin.requests)
        done = download(standin, tmp_path, "batch")
        assert asked(standin)[before:] == [[37]]
    assert (done.status, done.failed(), done.summary.resumed) == (0, [], 299)


def test_one_refused_element_costs_only_itself(tmp_path: Path) -> None:
    rejected = Respond(400, {"Content-Type": "application/json"}, b'{"message":"[3].index must be an integer"}')
    with Standin(make_world(300), faults=[Fault(rejected, match=batch_with(203), times=None)]) as standin:
        done = download(standin, tmp_path, "batch")
        assert len(standin.requests) < 25
    assert (done.failed(), done.status) == ([203], 1)
    assert "400" in done.features["203"]["error"]
    assert "must be an integer" in done.features["203"]["error"]


@pytest.mark.parametrize("status", [413, 504])
def test_batches_shrink_where_size_is_to_blame_and_nothing_is_lost(tmp_path: Path, status: int) -> None:
    with Standin(make_world(1000), faults=[Fault(Respond(status), match=larger_than(30), times=None)]) as standin:
        done = download(standin, tmp_path, "batch", concurrency=1)
        sizes = [len(batch) for batch in asked(standin)]
    assert (done.status, done.summary.successful, done.summary.failed) == (0, 1000, 0)
    assert sizes[:3] == [100, 50, 25]
    # Forty batches of 25, and now and then one try at 50, ever more rarely.
    assert sizes.count(25) <= 40 + 4
    assert sum(size > 30 for size in sizes) <= 2 + 5
    assert len(sizes) < 60


def test_batches_grow_again_when_the_trouble_is_over(tmp_path: Path) -> None:
    with Standin(make_world(2000), lean=True, faults=[Fault(Respond(413), match=POST, times=3)]) as standin:
        done = download(standin, tmp_path, "batch", concurrency=1)
        sizes = [len(batch) for batch in asked(standin)]
    assert (done.status, done.summary.successful) == (0, 2000)
    assert sizes[:4] == [100, 50, 25, 13]
    assert max(sizes[4:6]) == 13
    assert sizes[-5:-1] == [100] * 4
    assert len(sizes) < 35


def test_a_fault_that_only_large_batches_have_makes_later_ones_smaller_too(tmp_path: Path) -> None:
    with Standin(make_world(1000), faults=[Fault(Respond(502), match=larger_than(30), times=None)]) as standin:
        done = download(standin, tmp_path, "batch", concurrency=1)
        sizes = [len(batch) for batch in asked(standin)]
    assert (done.status, done.summary.successful, done.summary.failed) == (0, 1000, 0)
    assert sizes[:2] == [100, 100], "a lone fault is no reason to split"
    assert sum(size > 30 for size in sizes) <= 16
    assert len(sizes) < 75


@pytest.mark.parametrize("action", [NoAnswer(), Stall(1000)])
def test_a_batch_that_never_ends_is_split_at_once_and_not_repeated(tmp_path: Path, action: Any) -> None:
    with Standin(make_world(120), faults=[Fault(action, match=larger_than(60), times=None)]) as standin:
        done = download(standin, tmp_path, "batch", stall_timeout_s=1)
        sizes = Counter(len(batch) for batch in asked(standin))
    assert (done.status, done.summary.successful) == (0, 120)
    assert sizes == {100: 1, 50: 2, 20: 1}


def test_an_answer_over_the_cap_is_split_and_never_held(tmp_path: Path) -> None:
    with Standin(make_world(200), faults=[Fault(Oversize(1 << 22), match=larger_than(40), times=None)]) as standin:
        done = download(standin, tmp_path, "batch", max_response_bytes=1 << 20, concurrency=1)
        sizes = [len(batch) for batch in asked(standin)]
    assert (done.status, done.summary.successful) == (0, 200)
    assert sizes[:3] == [100, 50, 25]


def test_a_single_feature_over_the_cap_fails_with_the_reason(tmp_path: Path) -> None:
    with Standin(make_world(90), faults=[Fault(Oversize(1 << 22), match=batch_with(13), times=None)]) as standin:
        done = download(standin, tmp_path, "batch", max_response_bytes=1 << 20)
    assert (done.status, done.failed()) == (1, [13])
    assert "larger than 1,048,576 bytes" in done.features["13"]["error"]


@pytest.mark.parametrize("source", API)
@pytest.mark.parametrize("action", [Reset(500), ShortBody(500), Respond(200, {"Content-Type": "text/html"}, b"<html>")])
def test_a_broken_answer_is_asked_for_again(tmp_path: Path, source: str, action: Any) -> None:
    with Standin(make_world(60), faults=[Fault(action, match="/api/feature", times=1)]) as standin:
        done = download(standin, tmp_path, source)
    assert (done.status, done.summary.successful, done.summary.retries) == (0, 60, 1)


def test_a_rate_limit_pauses_and_then_everything_comes(tmp_path: Path) -> None:
    with Standin(make_world(800), lean=True, faults=[Fault(TooMany(retry_after=0.2), match=POST, skip=2)]) as standin:
        done = download(standin, tmp_path, "batch")
    assert (done.status, done.summary.successful, done.summary.rate_limited) == (0, 800, 1)


def test_a_server_that_fails_everything_is_not_asked_for_each_feature(tmp_path: Path) -> None:
    with Standin(make_world(2000), lean=True, faults=[Fault(SERVER_ERROR, match=POST, times=None)]) as standin:
        done = download(standin, tmp_path, "batch", max_attempts=1)
        assert len(standin.requests) < 400
    assert done.status == 1
    assert "keeps failing" in str(done.outcome.error)


def test_an_answer_for_another_source_or_index_is_not_taken(tmp_path: Path) -> None:
    def foreign(body: bytes) -> bytes:
        features = orjson.loads(body)
        stranger = {**features[0], "layer": "17-gemmascope-res-16k", "pos_str": ["WRONG"]}
        beyond = {**features[0], "index": "99999", "pos_str": ["WRONG"]}
        text = {**features[0], "index": "007", "pos_str": ["WRONG"]}
        return orjson.dumps([stranger, beyond, text, *features, {**features[0], "pos_str": ["WRONG: a duplicate"]}])

    world = make_world(150)
    with Standin(world, faults=[Fault(Mangle(foreign), match=POST, times=None)]) as standin:
        done = download(standin, tmp_path, "batch")
    assert done.status == 0
    assert_the_truth(done, world)
    assert b"WRONG" not in done.raw


# -- SAEs that nobody knows, and the ends of those that are known -----------------------------------------------------


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", ["gemma-2-2b/99-no-such-sae", "no-such-model/0-sae"])
def test_an_unknown_sae_is_refused_at_once(tmp_path: Path, source: str, name: str) -> None:
    with Standin(make_world(50)) as standin:
        done = download(standin, tmp_path, source, of=target(16_384, name))
        assert len(standin.requests) <= 40
    assert done.status == 3
    assert name in str(done.outcome.error)
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_stops_the_run(tmp_path: Path, source: str, status: int) -> None:
    with Standin(make_world(3000), lean=True, faults=[Fault(Respond(status), times=None)]) as standin:
        done = download(standin, tmp_path, source)
        assert len(standin.requests) <= 30
    assert (done.status, done.raw) == (3, b"")


@pytest.mark.parametrize("source", API)
def test_an_sae_with_few_features_in_the_api_is_known_all_the_same(tmp_path: Path, source: str) -> None:
    with Standin(make_world(1000, missing=range(900)), lean=True) as standin:
        done = download(standin, tmp_path, source)
        assert len(standin.requests) <= {"batch": 10 + 8, "feature": 1000 + 16}[source]
    assert (done.status, done.summary.missing, done.summary.successful) == (0, 900, 100)


def test_a_bad_feature_among_those_that_tell_whether_an_sae_exists_does_no_harm(tmp_path: Path) -> None:
    world = make_world(1000, missing=range(100))
    bad = 999
    assert bad in spread(1000, 100)
    assert bad in spread(1000, 16)
    with Standin(world, lean=True, nan_features={(MODEL, SOURCE, bad)}) as standin:
        done = download(standin, tmp_path, "batch", scope=range(100))
        assert len(standin.requests) <= 3
        by_one = download(standin, tmp_path / "feature", "feature", scope=range(100))
    assert (done.status, done.summary.missing, done.summary.failed) == (0, 100, 0)
    assert (by_one.status, by_one.summary.missing, by_one.summary.failed) == (0, 100, 0)


@pytest.mark.parametrize("source", ["batch", "feature", "auto"])
def test_features_beyond_the_end_are_missing_not_failed(tmp_path: Path, source: str) -> None:
    with Standin(make_world(250)) as standin:
        done = download(standin, tmp_path, source, of=target(260))
    assert (done.status, done.summary.successful, done.summary.missing) == (0, 250, 10)
    assert done.failed() == list(range(250, 260))


def test_rows_beyond_the_width_that_was_asked_for_are_left_out(tmp_path: Path) -> None:
    world = make_world(300)
    with Standin(world) as standin:
        done = {source: download(standin, tmp_path / source, source, of=target(120)) for source in SOURCES}
    for source, one in done.items():
        assert (one.status, len(one.features), one.summary.successful) == (0, 120, 120), source
        assert one.features == done["batch"].features


@pytest.mark.parametrize("source", SOURCES)
def test_a_width_that_nobody_gave_is_asked_for(tmp_path: Path, source: str) -> None:
    with Standin(make_world(130)) as standin:
        done = download(standin, tmp_path, source, of=target(None))
    assert (done.status, len(done.features)) == (0, 130)


@pytest.mark.parametrize("source", ["batch", "feature", "auto"])
def test_a_scope_asks_for_just_those_features(tmp_path: Path, source: str) -> None:
    with Standin(make_world(400)) as standin:
        done = download(standin, tmp_path, source, scope=range(100, 130))
        if source != "auto":
            wanted = {str(index) for index in range(100, 130)}
            posted = {str(index) for batch in asked(standin) for index in batch}
            got = {record.path.rsplit("/", 1)[-1] for record in standin.requests if record.method == "GET"}
            assert posted | got == wanted
        before = len(standin.requests)
        again = download(standin, tmp_path, source, scope=range(110, 120))
        assert len(standin.requests) == before
    assert (done.status, done.summary.total_features, done.summary.successful) == (0, 30, 30)
    assert (again.status, again.summary.total_features, again.summary.resumed) == (0, 10, 10)
    assert len(done.features) == 400
    if source != "auto":
        assert done.failed() == [*range(100), *range(130, 400)]
        assert done.features["0"]["error"] == "not downloaded yet"


def test_a_scope_can_grow_into_the_whole(tmp_path: Path) -> None:
    with Standin(make_world(300)) as standin:
        download(standin, tmp_path, "batch", scope=range(50, 150))
        done = download(standin, tmp_path, "batch")
        assert sorted(index for batch in asked(standin) for index in batch) == list(range(300))
    assert (done.status, done.summary.successful, done.summary.resumed) == (0, 300, 100)


# -- the traps of the export ------------------------------------------------------------------------------------------


def test_a_listing_of_many_small_pages_is_followed_to_its_end(tmp_path: Path) -> None:
    with Standin(make_world(600), features_batch=32, explanations_batch=32, max_keys=3, lean=True) as standin:
        done = download(standin, tmp_path, "export")
        tokens = [record.path for record in standin.requests if "continuation-token" in record.path]
        n_features = len(standin.bucket.objects(f"{EXPORT_PREFIX}features/"))
        n_explanations = len(standin.bucket.objects(f"{EXPORT_PREFIX}explanations/"))
        assert n_asked(standin, "LIST") == math.ceil(n_features / 3) + math.ceil(n_explanations / 3)
        assert n_asked(standin, "OBJECT") == n_features + n_explanations
    assert len(tokens) == len(set(tokens)) > 10
    assert (done.status, done.summary.successful) == (0, 600)


def test_siblings_of_a_prefix_are_not_read(tmp_path: Path) -> None:
    world = make_world(300)
    world.add_source(MODEL, SOURCE + "__l0-143", 300)
    world.add_source(MODEL, "1" + SOURCE, 300)
    with Standin(world) as standin:
        done = download(standin, tmp_path, "export", of=target(300))
        keys = {record.path for record in standin.requests if n_asked(standin, "OBJECT")}
    assert not any(word in path for path in keys for word in ("-prev", "__l0", "activations", "/1" + SOURCE))
    assert done.status == 0
    assert b"WRONG" not in done.raw


def test_a_listing_that_ignores_the_prefix_brings_in_nothing_foreign(tmp_path: Path) -> None:
    def widen(body: bytes) -> bytes:
        foreign = "".join(
            f'<Contents><Key>v1/{key}</Key><ETag>"x"</ETag><Size>1</Size></Contents>'
            for key in (
                f"{MODEL}/{SOURCE}/features-prev/batch-0.jsonl.gz",
                f"{MODEL}/{SOURCE}__l0-143/features/batch-0.jsonl.gz",
                f"{MODEL}/{SOURCE}/features/sub/batch-0.jsonl.gz",
                f"{MODEL}/{SOURCE}/features/batch-0.jsonl.gz.tmp",
                f"{MODEL}/{SOURCE}/features/../../secret/batch-0.jsonl.gz",
            )
        )
        return body.replace(b"</ListBucketResult>", foreign.encode() + b"</ListBucketResult>")

    with Standin(make_world(100), faults=[Fault(Mangle(widen), match="list-type=2", times=None)]) as standin:
        done = download(standin, tmp_path, "export")
        assert n_asked(standin, "OBJECT") == 2
    assert (done.status, done.summary.successful) == (0, 100)


@pytest.mark.parametrize("objects", [rb"\g<0>", b""], ids=["the same objects", "no objects"])
def test_a_listing_that_goes_round_in_circles_is_noticed(tmp_path: Path, objects: bytes) -> None:
    token = b"<NextContinuationToken>abc=</NextContinuationToken>"

    def change(body: bytes) -> bytes:
        body = re.sub(rb"<NextContinuationToken>.*?</NextContinuationToken>", token, body)
        return re.sub(rb"<Contents>.*</Contents>", objects, body)

    mangle = Mangle(change)
    with Standin(make_world(300), features_batch=32, max_keys=2, faults=[Fault(mangle, times=None)]) as standin:
        done = download(standin, tmp_path, "export")
        assert len(standin.requests) < 20
    assert done.status != 0


@pytest.mark.parametrize("source", ["export", "auto"])
def test_an_object_that_vanishes_after_the_listing_makes_a_new_listing(tmp_path: Path, source: str) -> None:
    world = make_world(500, all_explained=True)
    with Standin(world, features_batch=128, faults=[Fault(Gone(), match="features/batch-2.", times=1)]) as standin:
        done = download(standin, tmp_path, source)
        assert n_asked(standin, "LIST") == 4
        folders = (f"{EXPORT_PREFIX}features/", f"{EXPORT_PREFIX}explanations/")
        n_objects = sum(len(standin.bucket.objects(folder)) for folder in folders)
        assert n_asked(standin, "OBJECT") == n_objects + 1
        assert n_asked(standin, POST) == 0
    assert done.status == 0
    assert_the_truth(done, world)


def test_an_object_that_changes_after_the_listing_counts_as_it_was_read(tmp_path: Path) -> None:
    world = make_world(300)
    changed: list[int] = []

    with Standin(world, features_batch=128, explanations_batch=100) as standin:
        key = key_of(standin, "explanations", 20)

        def change(record: Record) -> bool:
            if record.line == f"GET /{key}" and not changed:
                changed.append(1)
                plant(world, 20, "the new label")
                standin.bucket.rebuild(MODEL, SOURCE)
            return False

        standin.faults.append(Fault(Gone(), match=change))
        done = download(standin, tmp_path, "export")
        n_reads = sum(record.line == f"GET /{key}" for record in standin.requests)
        n_lists = n_asked(standin, "LIST")
        again = download(standin, tmp_path, "export", refresh=True)
    assert changed
    assert done.status == 0
    assert done.features["20"]["description"] == "the new label"
    assert n_lists == 4
    assert n_reads <= 2
    assert again.features == done.features


def test_an_export_that_never_holds_still_is_given_up_with_the_reason(tmp_path: Path) -> None:
    faults = [Fault(Gone(), match="features/batch-1.", times=None)]
    with Standin(make_world(300), features_batch=128, faults=faults) as standin:
        done = download(standin, tmp_path, "export")
        assert n_asked(standin, "LIST") == 6
    assert done.status == 1
    assert "kept changing" in str(done.outcome.error)


def test_a_refresh_reads_just_what_changed_and_forgets_what_went(tmp_path: Path) -> None:
    world = make_world(400, odd=False)
    with Standin(world, features_batch=128, explanations_batch=100) as standin:
        download(standin, tmp_path, "export")
        assert download(standin, tmp_path, "export", refresh=True).summary.requests == 2
        plant(world, 20, "the new label")
        standin.bucket.rebuild(MODEL, SOURCE)
        done = download(standin, tmp_path, "export", refresh=True)
    assert done.features["20"]["description"] == "the new label"
    assert "all_descriptions" not in done.features["20"]
    assert done.summary.requests < 2 + 9
    assert_the_truth(done, world)


def test_an_export_that_is_cut_anew_replaces_the_old_one(tmp_path: Path) -> None:
    world = make_world(500)
    with Standin(world, features_batch=64, explanations_batch=50) as standin:
        first = download(standin, tmp_path, "export")
    for index in (1, 100, 499):
        plant(world, index, "cut anew")
    with Standin(world, features_batch=256, explanations_batch=200) as standin:
        done = download(standin, tmp_path, "export", refresh=True)
        fresh = download(standin, tmp_path / "fresh", "export")
    assert done.status == 0
    assert done.features != first.features
    assert done.features == fresh.features
    assert_the_truth(done, world)


@pytest.mark.parametrize("source", ["export", "auto"])
@pytest.mark.parametrize("action", [TruncateGzip(-20), TruncateGzip(300), CorruptGzip(), ShortBody(900), Reset(900)])
def test_an_object_cut_short_is_read_again(tmp_path: Path, source: str, action: Any) -> None:
    world = make_world(300, all_explained=True)
    with Standin(world, features_batch=128, faults=[Fault(action, match="explanations/batch-0.")]) as standin:
        done = download(standin, tmp_path, source)
        assert n_asked(standin, POST) == 0
    assert (done.status, done.summary.retries) == (0, 1)
    assert_the_truth(done, world)


@pytest.mark.parametrize("folder", ["features", "explanations"])
def test_an_export_with_a_failed_object_says_so_and_keeps_the_rest(tmp_path: Path, folder: str) -> None:
    world = make_world(500)
    faults = [Fault(TruncateGzip(200), match=f"{folder}/batch-2.", times=None)]
    with Standin(world, features_batch=128, explanations_batch=100, faults=faults) as standin:
        done = download(standin, tmp_path, "export")
        standin.faults.clear()
        before = len(standin.requests)
        then = download(standin, tmp_path, "export")
        assert len(standin.requests) - before == 3
    assert done.status == 1
    assert f"{folder}/batch-2.jsonl.gz" in str(done.outcome.error)
    assert len(done.features) == 500
    assert (then.status, then.summary.successful) == (0, 500)
    assert_the_truth(then, world)


@pytest.mark.parametrize("folder", ["features", "explanations"])
def test_auto_asks_the_api_where_an_object_of_the_export_fails(tmp_path: Path, folder: str) -> None:
    world = make_world(500)
    faults = [Fault(TruncateGzip(200), match=f"{folder}/batch-1.", times=None)]
    with Standin(world, features_batch=128, explanations_batch=100, faults=faults) as standin:
        done = download(standin, tmp_path, "auto")
        again = download(standin, tmp_path, "auto")
    assert (done.status, done.summary.successful) == (0, 500)
    assert_the_truth(done, world)
    assert any("API is asked instead" in note for note in done.outcome.notes)
    assert (again.status, again.summary.requests) == (0, 0)


def test_a_feature_that_fails_after_half_an_export_is_not_called_got(tmp_path: Path) -> None:
    world = make_world(300)
    plant(world, 40, "a label that only a broken object and a failing API have")
    with Standin(world, features_batch=128, explanations_batch=100, nan_features={(MODEL, SOURCE, 40)}) as standin:
        key = key_of(standin, "explanations", 40)
        standin.faults.append(Fault(TruncateGzip(200), match=key, times=None))
        done = download(standin, tmp_path, "auto")
        standin.faults.clear()
        then = download(standin, tmp_path, "auto")
    assert (done.status, done.summary.failed) == (1, 1)
    assert (done.failed(), done.labels["stats"]["failed"]) == ([40], 1)
    assert (then.status, then.summary.failed, then.failed()) == (0, 0, [])
    assert then.features["40"]["description"] == "a label that only a broken object and a failing API have"


@pytest.mark.parametrize("dead", [Respond(503), NoAnswer(), Respond(403), Respond(200, {}, b"<html>not S3</html>")])
def test_auto_falls_back_to_the_api_where_the_export_is_dead(tmp_path: Path, dead: Any) -> None:
    world = make_world(300)
    faults = [Fault(dead, match=lambda record: record.origin == "export", times=None)]
    with Standin(world, faults=faults) as standin:
        done = download(standin, tmp_path, "auto", **({"stall_timeout_s": 1} if dead == NoAnswer() else {}))
        assert n_asked(standin, POST) == 3
    assert (done.status, done.summary.successful) == (0, 300)
    assert_the_truth(done, world)
    assert any("API is asked instead" in note for note in done.outcome.notes)


def test_auto_falls_back_to_the_api_where_the_export_cannot_be_reached(tmp_path: Path) -> None:
    with Standin(make_world(200)) as standin:
        standin.export_url = "http://127.0.0.1:9"
        done = download(standin, tmp_path, "auto")
    assert (done.status, done.summary.successful) == (0, 200)


def test_auto_falls_back_to_the_api_where_the_export_has_nothing(tmp_path: Path) -> None:
    world = make_world(250, absent_from_export=range(250))
    with Standin(world) as standin:
        done = download(standin, tmp_path, "auto")
        assert n_asked(standin, POST) == 3
        alone = download(standin, tmp_path / "alone", "export")
    assert (done.status, done.summary.successful) == (0, 250)
    assert_the_truth(done, world)
    assert alone.status == 3
    assert "--source batch" in str(alone.outcome.error)


def test_a_refresh_of_an_sae_that_is_not_exported_asks_the_api_again(tmp_path: Path) -> None:
    world = make_world(250, absent_from_export=range(250))
    with Standin(world) as standin:
        download(standin, tmp_path, "auto")
        plant(world, 3, "new")
        done = download(standin, tmp_path, "auto", refresh=True)
    assert done.features["3"]["description"] == "new"


def test_a_refresh_with_auto_asks_the_api_for_the_gap_again(tmp_path: Path) -> None:
    world = make_world(300, absent_from_export={3, 4, 5}, missing={5}, all_explained=True)
    with Standin(world) as standin:
        download(standin, tmp_path, "auto")
        plant(world, 3, "new")
        plant(world, 5, "there now")
        before = len(standin.requests)
        done = download(standin, tmp_path, "auto", refresh=True)
        assert len(standin.requests) - before == 3
        assert asked(standin) == [[3, 4, 5]] * 2
    assert (done.status, done.summary.missing) == (0, 0)
    assert_the_truth(done, world)


@pytest.mark.parametrize("source", ["batch", "feature"])
def test_a_refresh_asks_the_api_for_everything_again(tmp_path: Path, source: str) -> None:
    world = make_world(150, missing={149})
    with Standin(world) as standin:
        download(standin, tmp_path, source)
        plant(world, 3, "new")
        plant(world, 149, "there now")
        before = len(standin.requests)
        done = download(standin, tmp_path, source, refresh=True)
        assert len(standin.requests) - before == {"batch": 2, "feature": 150}[source]
    assert (done.status, done.failed(), done.summary.resumed) == (0, [], 0)
    assert_the_truth(done, world)


def test_an_explanation_without_its_feature_is_published_and_auto_asks_for_the_rest_of_it(tmp_path: Path) -> None:
    world = make_world(300, all_explained=True)
    plant(world, 44, "an orphan")
    with Standin(world, features_batch=512) as standin:
        standin.bucket.rewrite(f"{EXPORT_PREFIX}features/batch-0.jsonl.gz", drop_lines(44))
        alone = download(standin, tmp_path / "export", "export")
        auto = download(standin, tmp_path / "auto", "auto")
        assert asked(standin) == [[44]]
    assert (alone.status, alone.summary.successful, alone.summary.missing) == (0, 300, 0)
    assert alone.features["44"] == {
        "description": "an orphan",
        "top_positive_tokens": [],
        "top_negative_tokens": [],
        "max_activation": None,
        "has_explanations": True,
    }
    assert_the_truth(auto, world)


def test_content_encoding_gzip_on_objects_changes_nothing(tmp_path: Path) -> None:
    world = make_world(400)
    done = {}
    for header in (False, True):
        with Standin(world, features_batch=128, gzip_header=header) as standin:
            done[header] = download(standin, tmp_path / str(header), "export")
    assert (done[True].status, done[True].summary.retries) == (0, 0)
    assert done[True].features == done[False].features
    with Standin(world, gzip_header=True, faults=[Fault(TruncateGzip(-30), match="features/batch-0.")]) as standin:
        cut = download(standin, tmp_path / "cut", "export")
    assert (cut.status, cut.summary.retries) == (0, 1)
    assert cut.features == done[False].features


def test_an_object_packed_twice_on_the_way_is_unpacked_twice(tmp_path: Path) -> None:
    world = make_world(100)
    with Standin(world) as standin:
        stored = standin.bucket.get(f"{EXPORT_PREFIX}features/batch-0.jsonl.gz")
        assert stored is not None
        twice = Respond(200, {"Content-Encoding": "gzip", "ETag": stored.etag}, gzip.compress(stored.read()))
        standin.faults.append(Fault(twice, match="features/batch-0.", times=None))
        done = download(standin, tmp_path, "export")
    assert done.status == 0
    assert_the_truth(done, world)


def test_odd_lines_of_the_export_cost_only_themselves(tmp_path: Path) -> None:
    world = make_world(100)

    def spoil(lines: bytes) -> bytes:
        rows = lines.split(b"\n")[:-1]
        broken = [
            b'{"modelId": "gemma-2-2b", "layer": "16-gemmascope-res-16k", "index": "12", "maxActApprox"',
            b"",
            b"null",
            b'["a list"]',
            b'{"layer": "17-gemmascope-res-16k", "index": 4, "pos_str": ["WRONG"]}',
            b'{"layer": "16-gemmascope-res-16k", "index": "007", "pos_str": ["WRONG"]}',
            b'{"layer": "16-gemmascope-res-16k", "index": -1, "pos_str": ["WRONG"]}',
            b'{"layer": "16-gemmascope-res-16k", "index": 100, "pos_str": ["WRONG"]}',
            b'{"layer": "16-gemmascope-res-16k", "index": 99999999999999999999999, "pos_str": ["WRONG"]}',
            b'{"layer": "16-gemmascope-res-16k", "pos_str": ["WRONG"]}',
        ]
        random.Random(0).shuffle(rows)
        return b"\n".join([*rows[:50], *broken, *rows[50:]])  # and no newline at the end

    with Standin(world) as standin:
        standin.bucket.rewrite(f"{EXPORT_PREFIX}features/batch-0.jsonl.gz", spoil)
        done = download(standin, tmp_path, "export")
    assert (done.status, done.summary.successful) == (0, 100)
    assert b"WRONG" not in done.raw
    assert_the_truth(done, world)


@pytest.mark.parametrize("body", [b"<html>a captive portal</html>\n", b"null\n[]\n", b"\x00\xff\n" * 3])
def test_an_object_in_which_nothing_is_a_row_is_not_taken_for_an_empty_one(tmp_path: Path, body: bytes) -> None:
    world = make_world(200)
    wrong = Fault(Respond(200, {}, gzip.compress(body)), match="explanations/batch-0.", times=None)
    with Standin(world, faults=[wrong]) as standin:
        done = download(standin, tmp_path, "export")
        standin.faults.clear()
        then = download(standin, tmp_path, "export")
    assert done.status == 1
    assert "explanations/batch-0.jsonl.gz: none of its" in str(done.outcome.error)
    assert then.status == 0
    assert_the_truth(then, world)


def test_a_huge_embedding_is_never_held_in_memory(tmp_path: Path) -> None:
    world = make_world(40)
    embedding = b"[" + b"0.12345678901234567, " * 40_000 + b"1]"  # 840 KB a line, 33 MB in all

    def fatten(lines: bytes) -> bytes:
        rows = (json.loads(line) for line in lines.split(b"\n")[:-1])
        fat = (orjson.dumps({**row, "embedding": None}) for row in rows)
        return b"".join(row.replace(b'"embedding":null', b'"embedding":' + embedding) + b"\n" for row in fat)

    with Standin(world) as standin:
        standin.bucket.rewrite(f"{EXPORT_PREFIX}explanations/batch-0.jsonl.gz", fatten)
        tracemalloc.start()
        try:
            done = download(standin, tmp_path, "export")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert done.status == 0
    assert peak < 12e6, f"{peak:,} bytes"
    assert_the_truth(done, world)


def test_a_raw_newline_in_a_text_ends_no_line_wherever_the_stream_is_cut(tmp_path: Path) -> None:
    world = make_world(300)
    many = "raw\nnewlines\n" * 700

    def spoil(lines: bytes) -> bytes:
        rows = (json.loads(line) for line in lines.split(b"\n")[:-1])
        return b"".join(orjson.dumps({**row, "description": many}).replace(b"\\n", b"\n") + b"\n" for row in rows)

    with Standin(world) as standin:
        standin.bucket.rewrite(f"{EXPORT_PREFIX}explanations/batch-0.jsonl.gz", spoil)
        done = download(standin, tmp_path, "export")
    described = [description for description in done.descriptions if description is not None]
    assert done.status == 0
    assert len(described) > 250
    assert set(described) == {many}
    assert not any("left out" in note for note in done.outcome.notes)


def test_a_line_without_an_end_fails_its_object_and_not_the_machine(tmp_path: Path) -> None:
    bomb = gzip.compress(b'{"index": 1, "vector": "' + b"x" * (MAX_LINE + (4 << 20)), 1)
    faults = [Fault(Respond(200, {}, bomb), match="features/batch-0.", times=None)]
    with Standin(make_world(50), faults=faults) as standin:
        done = download(standin, tmp_path, "export")
    assert done.status == 1
    assert "longer than" in str(done.outcome.error)
