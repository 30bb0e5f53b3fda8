"""Complete means complete: who says that nobody has explained a feature, and what is missing from the export."""

from __future__ import annotations

import asyncio
import gzip
import json
import signal
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from command import end, saefetch, start, wait_until
from harness import (
    EXPORT_PREFIX,
    MODEL,
    RELEASE,
    SOURCE,
    Download,
    asked,
    download,
    make_world,
    n_asked,
    plant,
    settings_for,
    target,
)

from saefetch.downloading.run import run_jobs
from saefetch.inventory import progress
from saefetch.names.identity import Target, resolve
from saefetch.sources.listing import find_holes
from saefetch.sources.width import find_widths
from saefetch.store.answers import ExportObject
from saefetch.store.store import Store
from saefetch.terminal.progress import Display
from standin import DatabaseDown, Explanation, Fault, Respond, Standin, World

N = 1200
POST = "POST /api/features"


def bare(world: World, n: int = N) -> list[int]:
    """Return the features without any explanation."""
    features = ((index, world.feature(MODEL, SOURCE, index)) for index in range(n))
    return [index for index, feature in features if feature and not feature.explanations]


def lost(standin: Standin, key: str) -> set[int]:
    """Take an object out of the export; return the features that it was about."""
    stored = standin.bucket.get(key)
    assert stored is not None
    standin.bucket.lose(key)
    return {int(json.loads(line)["index"]) for line in gzip.decompress(stored.read()).split(b"\n")[:-1]}


def test_features_of_which_the_export_lacks_all_but_the_explanation_are_told_of_and_auto_asks(tmp_path: Path) -> None:
    world = make_world(N, all_explained=True)
    with serve(world) as standin:
        gone = lost(standin, sorted(o.key for o in standin.bucket.objects(f"{EXPORT_PREFIX}features/"))[-1])
        alone = download(standin, tmp_path, "export")
        whole = download(standin, tmp_path, "auto")
        lacking = {index for batch in asked(standin) for index in batch}
    assert lacking <= gone and len(lacking) > 150, "some rows are in two objects"
    said = f"of {len(lacking):,} features the export has an explanation and nothing else"
    assert said in str(alone.outcome.notes) and alone.status == 0
    assert "nothing else" not in str(whole.outcome.notes)
    for index in lacking:
        feature = world.feature(MODEL, SOURCE, index)
        assert feature is not None and whole.features[str(index)]["top_positive_tokens"] == [*feature.pos_str][:10]
        assert alone.features[str(index)]["top_positive_tokens"] == []


def serve(world: World, **knobs: Any) -> Standin:
    return Standin(world, lean=True, features_batch=256, explanations_batch=200, **knobs)


# -- features without an explanation -----------------------------------------------------------------------------------


def test_auto_asks_the_api_once_for_what_nobody_has_explained_in_the_export_and_remembers_it(tmp_path: Path) -> None:
    world = make_world(N)
    unexplained = bare(world)
    with serve(world) as standin:
        done = download(standin, tmp_path, "auto", batch_size=10)
        assert [index for batch in asked(standin) for index in batch] == unexplained
        assert n_asked(standin, POST) == -(-len(unexplained) // 10)
        assert done.summary.unexplained == {"api": len(unexplained), "export": 0}
        before = len(standin.requests)
        again = download(standin, tmp_path, "auto")
        assert len(standin.requests) == before and again.summary.requests == 0
    assert (done.status, again.status) == (0, 0)
    assert again.summary.unexplained == done.summary.unexplained and again.raw == done.raw
    with closing(Store.open_read_only(done.folder)) as store:
        assert str(store.meta("unexplained_asked_at")).endswith("Z")


def test_a_refresh_asks_again(tmp_path: Path) -> None:
    world = make_world(N)
    unexplained = bare(world)
    with serve(world) as standin:
        download(standin, tmp_path, "auto")
        plant(world, unexplained[0], "explained since", max_act=2.0)
        before = n_asked(standin, POST)
        done = download(standin, tmp_path, "auto", refresh=True)
        assert n_asked(standin, POST) - before == 1 and asked(standin)[-1] == unexplained
    assert done.features[str(unexplained[0])]["description"] == "explained since"
    assert done.summary.unexplained == {"api": len(unexplained) - 1, "export": 0}


@pytest.mark.parametrize("place", ["first", "middle"])
def test_a_lost_object_of_explanations_costs_no_label(tmp_path: Path, place: str) -> None:
    world = make_world(N)
    with serve(world) as standin:
        whole = download(standin, tmp_path / "whole", "batch")
        key = f"{EXPORT_PREFIX}explanations/batch-{ {'first': 0, 'middle': 3}[place] }.jsonl.gz"
        gone = lost(standin, key)
        before = n_asked(standin, POST)
        done = download(standin, tmp_path / "auto", "auto")
        n_posts = n_asked(standin, POST) - before
        alone = download(standin, tmp_path / "export", "export")
        later = download(standin, tmp_path / "export", "batch")
    differ = [index for index in whole.features if done.features[index] != whole.features[index]]
    assert done.status == 0 and all(len(whole.features[index]["all_descriptions"]) > 1 for index in differ)
    assert all((a is None) == (b is None) for a, b in zip(done.descriptions, whole.descriptions, strict=True))
    assert n_posts <= -(-(len(bare(world)) + len(gone)) // 100)
    assert any(f"1 object is missing from the export, by the numbers of the others: {key}" in n for n in notes(done))
    # The export alone cannot tell, and says how many.
    assert alone.status == 0 and alone.summary.unexplained["api"] == 0
    n_bare = sum(not entry["has_explanations"] for entry in alone.features.values())
    assert alone.summary.unexplained["export"] == n_bare > len(bare(world))
    assert any(
        f"{n_bare:,} features have no explanation in the export; only the API can tell" in n for n in notes(alone)
    )
    assert later.features == done.features, "--source batch asks for them too"
    if differ:
        assert any("--source batch --refresh" in note for note in notes(done)), "and how to be certain"


def test_the_last_object_has_no_hole_before_it_and_its_labels_come_all_the_same(tmp_path: Path) -> None:
    world = make_world(N)
    with serve(world) as standin:
        whole = download(standin, tmp_path / "whole", "batch")
        last = standin.bucket.objects(f"{EXPORT_PREFIX}explanations/")
        lost(standin, max((o.key for o in last), key=lambda key: int(key.rpartition("-")[2].split(".")[0])))
        done = download(standin, tmp_path / "auto", "auto")
    assert done.status == 0 and not any("missing from the export" in note for note in notes(done))
    # Features with an explanation in another object keep that one alone: only they can differ.
    differ = [i for i in done.features if done.features[i] != whole.features[i]]
    assert all(done.features[i]["description"] is not None for i in differ)
    assert len(differ) < 60


def test_a_lost_object_of_features_is_told_and_made_up_for(tmp_path: Path) -> None:
    world = make_world(N)
    with serve(world) as standin:
        key = f"{EXPORT_PREFIX}features/batch-2.jsonl.gz"
        lost(standin, key)
        done = download(standin, tmp_path, "auto")
    assert (done.status, done.summary.successful) == (0, N)
    assert any(key in note for note in notes(done))


def test_a_blank_explanation_is_an_explanation(tmp_path: Path) -> None:
    world = make_world(100, all_explained=True)
    plant(world, 7, Explanation(" ", "t", "m", "x"))
    with serve(world) as standin:
        done = download(standin, tmp_path, "auto")
        assert n_asked(standin, POST) == 0
    assert done.summary.unexplained == {"api": 0, "export": 0}
    assert done.features["7"]["has_explanations"] and done.features["7"]["description"] is None


def test_what_the_api_says_does_not_exist_is_missing_although_the_export_has_it(tmp_path: Path) -> None:
    world = make_world(300)
    unexplained = bare(world, 300)
    with serve(world) as standin:
        standin.bucket.objects(EXPORT_PREFIX)  # written before the feature went
        world.add_source(MODEL, SOURCE, 300, missing={unexplained[0]})
        done = download(standin, tmp_path, "auto")
    assert (done.status, done.summary.missing, done.failed()) == (0, 1, [unexplained[0]])


def test_an_api_that_knows_nothing_of_the_sae_takes_nothing_away(tmp_path: Path) -> None:
    world = make_world(300)
    nothing = Fault(Respond(200, {"Content-Type": "application/json"}, b"[]"), match=POST, times=None)
    with serve(world, faults=[nothing]) as standin:
        done = download(standin, tmp_path, "auto")
    assert (done.status, done.summary.missing, done.summary.successful) == (3, 0, 300)
    assert done.summary.unexplained["export"] == len(bare(world, 300)) > 0
    assert len(done.raw) > 0 and "knows no feature" in str(done.outcome.error)


def test_an_api_that_is_down_leaves_the_question_open_and_the_next_run_asks_it(tmp_path: Path) -> None:
    world = make_world(N)
    with serve(world, faults=[Fault(DatabaseDown(), match=POST, times=None)]) as standin:
        done = download(standin, tmp_path, "auto", max_wait_s=0.2)
        assert (done.status, done.summary.successful, done.summary.failed) == (1, N, 0)
        assert done.summary.unexplained == {"api": 0, "export": len(bare(world))}
        assert progress(done.folder).state == "incomplete"
        standin.faults.clear()
        before = len(standin.requests)
        then = download(standin, tmp_path, "auto")
        asked_now = [index for batch in asked(standin)[-1:] for index in batch]
        assert asked_now == bare(world) and len(standin.requests) - before == 2 + 1, "two listings and the question"
    assert (then.status, then.summary.unexplained["export"]) == (0, 0)


def test_a_poisoned_row_without_an_explanation_is_told_as_such(tmp_path: Path) -> None:
    world = make_world(N)
    poisoned = bare(world)[3]
    with serve(world, nan_features={(MODEL, SOURCE, poisoned)}) as standin:
        done = download(standin, tmp_path, "auto")
    assert (done.status, done.summary.successful) == (1, N)
    assert done.summary.unexplained == {"api": len(bare(world)) - 1, "export": 1}
    assert "1 features have no explanation in the export, and the API failed to say" in str(done.outcome.error)
    assert "error" not in done.features[str(poisoned)], "what the export has of it is here"


def test_only_the_features_in_scope_are_asked_about(tmp_path: Path) -> None:
    world = make_world(N)
    with serve(world) as standin:
        done = download(standin, tmp_path, "auto", scope=range(500, 800))
        assert [i for batch in asked(standin) for i in batch] == [i for i in bare(world) if 500 <= i < 800]
    assert done.summary.unexplained == {"api": len([i for i in bare(world) if 500 <= i < 800]), "export": 0}


# -- status, --json ----------------------------------------------------------------------------------------------------


def test_status_and_json_say_which_source_vouches(tmp_path: Path) -> None:
    words = ("download", "--num-features", str(N), "--json")
    world = make_world(N)
    n_bare = len(bare(world))
    with serve(world) as standin:
        alone = saefetch(tmp_path, *words, "--source", "export", standin=standin)
        assert alone.status == 0 and alone.document["unexplained"] == {"api": 0, "export": n_bare}
        assert f"{n_bare:,} features have no explanation in the export; only the API can tell" in alone.err
        assert saefetch(tmp_path, "verify", standin=None).status == 0
        status = saefetch(tmp_path, "status", standin=None).out
        assert "complete: 1,200 of 1,200" in status and f"{n_bare:,} without an explanation in the export" in status
        assert f"running it again would ask the API about {n_bare:,} features" in status
        done = saefetch(tmp_path, *words, standin=standin)
        assert done.document["unexplained"] == {"api": n_bare, "export": 0}
    status = saefetch(tmp_path, "status", standin=None).out
    assert f"{n_bare:,} without an explanation, says the API, asked last on 20" in status
    assert "nothing to fetch; --refresh looks for changes" in status
    (sae,) = saefetch(tmp_path, "status", "--json", standin=None).document["saes"]
    assert sae["unexplained"] == {"api": n_bare, "export": 0} and sae["unexplained_asked_at"].endswith("Z")


def test_what_was_not_asked_yet_has_not_failed_in_an_interrupted_run(tmp_path: Path) -> None:
    with Standin(make_world(300), lean=True, latency_s=0.05) as standin:
        words = ("download", "--source", "batch", "--batch-size", "5", "--num-features", "300", "--json")
        process = start(tmp_path, *words, "--concurrency", "1", standin=standin)
        wait_until(lambda: len(standin.requests) > 5)
        process.send_signal(signal.SIGINT)
        ended = end(process)
    assert ended.status == 130
    assert (ended.document["total_features"], ended.document["failed"]) == (300, 0)
    assert 0 < ended.document["successful"] < 300


@pytest.mark.parametrize(("source", "expected"), [("feature", list(range(1, 201))), ("batch", [50, 100, 150, 200])])
def test_progress_counts_features_as_they_come(tmp_path: Path, source: str, expected: list[int]) -> None:
    class Heard(Display):
        def advance(self, name: str, done: int, text: str = "") -> None:
            super().advance(name, done, text)
            counts.append(done)

    counts: list[int] = []
    heard = Heard()
    with Standin(make_world(200), lean=True) as standin:
        settings = settings_for(standin.api_url, standin.export_url, tmp_path, source=source, batch_size=50)
        (outcome,) = asyncio.run(run_jobs([target(200)], settings, heard))
    assert outcome.exit_status == 0
    assert counts == expected


# -- holes, widths -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "holes"),
    [([], []), ([0], []), ([0, 1, 2], []), ([1, 2], [0]), ([0, 2, 5], [1, 3, 4]), ([10**9], [])],
)
def test_a_hole_in_the_numbers_is_a_missing_object(numbers: list[int], holes: list[int]) -> None:
    listing = [ExportObject(f"v1/m/3-res/features/batch-{n}.jsonl.gz", '"x"', 1) for n in numbers]
    assert find_holes(listing) == [f"v1/m/3-res/features/batch-{n}.jsonl.gz" for n in holes]


def unknown_widths(n: int) -> list[Target]:
    targets = resolve(RELEASE, "layer_*/width_16k/canonical", None, 60)[:n]
    return [Target(t.release, t.sae_id, t.neuronpedia_id, None) for t in targets]


def of_many(standin: Standin, tmp_path: Path, targets: list[Target], **knobs: Any) -> list[int]:
    settings = settings_for(standin.api_url, standin.export_url, tmp_path, source="export", **knobs)
    outcomes = asyncio.run(run_jobs(targets, settings, Display()))
    assert all(outcome.exit_status == 0 for outcome in outcomes)
    return [outcome.summary.total_features for outcome in outcomes]


def layers(n: int) -> World:
    world = World()
    for layer in range(n):
        world.add_source(MODEL, f"{layer}-gemmascope-res-16k", 40 + layer)
    return world


def test_the_widths_of_many_layers_come_from_one_answer(tmp_path: Path) -> None:
    with Standin(layers(6), lean=True) as standin:
        assert of_many(standin, tmp_path, unknown_widths(6)) == [40, 41, 42, 43, 44, 45]
        sets = [record.path for record in standin.requests if "source-set" in record.path]
        assert sets == ["/api/source-set/gemma-2-2b/gemmascope-res-16k"]
        assert not any("source.jsonl" in record.path or "/api/feature/" in record.path for record in standin.requests)


@pytest.mark.parametrize("said", [Respond(404), Respond(500), Respond(200, {}, b"<html>"), Respond(200, {}, b"[]")])
def test_where_the_set_does_not_tell_each_sae_is_asked_for_by_itself(tmp_path: Path, said: Respond) -> None:
    with Standin(layers(3), lean=True, faults=[Fault(said, match="source-set", times=None)]) as standin:
        assert of_many(standin, tmp_path, unknown_widths(3), max_attempts=1) == [40, 41, 42]


def test_one_sae_is_not_asked_for_by_its_set(tmp_path: Path) -> None:
    with Standin(layers(3), lean=True) as standin:
        assert of_many(standin, tmp_path, unknown_widths(1)) == [40]
        assert not any("source-set" in record.path for record in standin.requests)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"sources": [{"id": "3-res", "saelensConfig": {"d_sae": 7}}, {"id": "4-res", "saelensConfig": null}]}', 1),
        (b'{"sources": [{"id": "3-res", "saelensConfig": "{\\"d_sae\\": 7}"}, 5, {"id": 9}]}', 1),
        (b'{"sources": [{"id": "3-res", "saelensConfig": {"d_sae": -7}}]}', 0),
        (b'{"sources": "x"}', 0),
        (b"null", 0),
    ],
)
def test_an_odd_source_set_gives_what_it_has(body: bytes, found: int) -> None:
    assert find_widths(body) == ({"3-res": 7} if found else {})


def notes(done: Download) -> list[str]:
    return done.outcome.notes
