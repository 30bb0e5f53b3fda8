"""Each answer of the API against what scipy makes of the same files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from dashboard_data import (
    HOSTILE,
    NEURONPEDIA_ID,
    PROMPT,
    RESPONSE,
    WIDTH,
    label,
    published,
    write_features,
    write_labels,
)
from dashboard_server import Dashboard, settings_for
from dashboard_truth import COUNTED, LENGTHS, SHARDS, STARTS, Array, counted_of, near, nearly_extremes, of

import saefetch
from dashboard.model.data import Data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dashboard")
    write_labels(path / "sae")
    write_features(path / "features")
    return path


@pytest.fixture(scope="module")
def truth(folder: Path) -> Array:
    shards = [scipy.sparse.load_npz(folder / "features" / f"{name}.npz").toarray() for name in SHARDS]
    dense: Array = np.concatenate(shards)
    assert dense.shape == (208, WIDTH) and not dense[:, 7].any()
    return dense


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Dashboard]:
    with Dashboard(Data(settings_for(folder))) as dashboard:
        yield dashboard


def test_the_summary_says_what_there_is(served: Dashboard, folder: Path, truth: Array) -> None:
    answer = served.api("summary")
    assert answer["version"] == saefetch.__version__
    features = answer["features"]
    assert features["folder"] == "FEATURES"
    assert (features["rows"], features["d_sae"], features["nnz"]) == (208, WIDTH, int((truth != 0).sum()))
    assert (features["n_shards"], features["n_documents"], features["has_text"]) == (5, len(LENGTHS), True)
    assert features["excluded"] == {"mask": 3, "token": 0, "first": 0, "norm": 0}
    assert features["mean_l0"] == pytest.approx((truth[COUNTED] != 0).sum() / 205)
    assert features["sae"]["neuronpedia_id"] == NEURONPEDIA_ID
    labels = answer["labels"]
    assert (labels["n_features"], labels["with_descriptions"]) == (WIDTH, WIDTH - 6)
    assert (labels["missing"], labels["failed"], labels["complete"]) == (2, 1, False)
    assert answer["refusal"] is None and answer["static"] is False
    assert answer["neuronpedia"] == f"https://www.neuronpedia.org/{NEURONPEDIA_ID}"


def test_documents_are_runs_of_one_number_or_whole_shards(served: Dashboard, truth: Array) -> None:
    answer = served.api("documents")
    documents = answer["documents"]
    assert answer["total"] == len(documents) == len(LENGTHS)
    assert [document["id"] for document in documents] == list(range(len(LENGTHS)))
    assert [document["rows"] for document in documents] == LENGTHS
    assert [document["first_row"] for document in documents] == STARTS[:-1].tolist()
    assert [document["number"] for document in documents] == [None, 0, 1, 2, 0, None, None]
    assert [document["shard"] for document in documents] == ["capture", *["corpus__part-0"] * 4, "ids", "nothing"]
    l0 = [(counted_of(truth, i) != 0).sum(1).mean() for i in range(7)]
    assert near([document["mean_l0"] for document in documents], l0)
    assert [document["excluded"] for document in documents] == [0, 0, 0, 2, 1, 0, 0]
    assert documents[0]["preview"] == "".join([*PROMPT, *RESPONSE])
    assert documents[0]["sections"] == [
        {"name": "prompt", "start": 0, "stop": 7},
        {"name": "response", "start": 7, "stop": 20},
    ]
    assert documents[1]["preview"].startswith(" the dogs slept") and len(documents[1]["preview"]) < 161
    assert documents[5]["preview"].startswith("#0#1#2") and documents[6]["preview"] == ""


def test_documents_are_paged_and_found_by_their_beginning_or_their_shard(served: Dashboard) -> None:
    page = served.api("documents", offset=2, limit=3)
    assert page["total"] == 7 and [one["id"] for one in page["documents"]] == [2, 3, 4]
    assert served.api("documents", offset=100)["documents"] == []
    assert [one["id"] for one in served.api("documents", query="ME About")["documents"]] == [0]
    assert [one["id"] for one in served.api("documents", query="part-0", limit=2)["documents"]] == [1, 2]
    assert served.api("documents", query="nowhere") == {"total": 0, "documents": []}


@pytest.mark.parametrize("document", [0, 2, 3, 6])
def test_tokens_are_coloured_by_l0_by_the_strongest_or_by_a_feature(
    served: Dashboard, truth: Array, document: int
) -> None:
    own = of(truth, document)
    for colour, values in (("l0", (own != 0).sum(1)), ("top", own.max(1)), ("feature:11", own[:, 11])):
        answer = served.api(f"documents/{document}/tokens", colour=colour, start=1, stop=15)
        assert near(answer["values"], values[1:15]) and len(answer["tokens"]) == len(answer["values"])
        of_counted = values[of(COUNTED, document)]
        floor, scale = (0, of_counted.max()) if colour == "feature:11" else nearly_extremes(of_counted)
        assert near([answer["floor"], answer["scale"]], [floor, scale])
        assert (answer["colour"], answer["first_row"], answer["total"]) == (colour, STARTS[document], len(own))
        assert (answer["start"], answer["stop"]) == (1, min(15, len(own)))


def test_tokens_are_the_shards_texts_else_ids_else_positions(served: Dashboard) -> None:
    capture = served.api("documents/0/tokens")
    assert capture["tokens"] == [*PROMPT, *RESPONSE]
    assert capture["token_ids"] is None and capture["masked"] is None
    assert [section["name"] for section in capture["sections"]] == ["prompt", "response"]
    corpus = served.api("documents/3/tokens", start=5, stop=12)
    assert corpus["token_ids"] == [(31 + at) % 50 for at in range(5, 12)]
    assert corpus["masked"] == [at == 8 for at in range(5, 12)]
    assert corpus["reasons"] == [None, None, None, "mask", None, None, None] and capture["reasons"] is None
    assert served.api("documents/5/tokens", start=3, stop=5)["tokens"] == ["#3", "#4"]
    assert served.api("documents/6/tokens", start=3, stop=5)["tokens"] == ["·3", "·4"]


def test_the_features_of_a_document_come_by_their_mass(served: Dashboard, truth: Array) -> None:
    own = counted_of(truth, 3)
    answer = served.api("documents/3/features", limit=40)
    total = own.sum(0, dtype=np.float64)
    assert answer["total"] == int((total > 0).sum())
    found = [one["index"] for one in answer["features"]]
    assert near([one["sum"] for one in answer["features"]], np.sort(total)[::-1][:40]) and len(found) == 40
    assert near([one["sum"] for one in answer["features"]], total[found])
    assert [one["count"] for one in answer["features"]] == (own != 0).sum(0)[found].tolist()
    assert near([one["max"] for one in answer["features"]], own.max(0)[found])
    assert served.api("documents/3/features", offset=40, limit=2)["features"][0]["sum"] <= total[found[-1]]


@pytest.mark.parametrize("row", [0, 1, 8, 21, 58, 90, 207])
def test_a_row_has_all_its_features_the_strongest_first(served: Dashboard, truth: Array, row: int) -> None:
    answer = served.api(f"rows/{row}")
    active, own = answer["active"], truth[row]
    assert sorted(active["index"]) == np.flatnonzero(own).tolist() and answer["l0"] == len(active["index"])
    assert near(active["value"], own[active["index"]]) and active["value"] == sorted(active["value"], reverse=True)
    document = int(np.searchsorted(STARTS, row, side="right")) - 1
    assert (answer["document"], answer["position"]) == (document, row - STARTS[document])
    assert active["label"] == [published(index) for index in active["index"]]
    most = [None if index in (10, 11, 12) else 5.0 + index % 40 for index in active["index"]]
    shares = zip(active["share"], active["value"], most, strict=True)
    assert all(share == (None if top is None else pytest.approx(value / top)) for share, value, top in shares)


def test_a_row_says_which_token_it_is(served: Dashboard) -> None:
    answer = served.api("rows/8")
    assert (answer["token"], answer["section"], answer["masked"], answer["token_id"]) == (
        " sleep",
        "response",
        False,
        None,
    )
    answer = served.api(f"rows/{STARTS[1] + 39}")
    assert (answer["shard"], answer["masked"], answer["token_id"], answer["section"]) == (
        "corpus__part-0",
        True,
        39,
        None,
    )


def test_a_feature_has_all_that_the_labels_say(served: Dashboard) -> None:
    answer = served.api("features/0")
    assert answer["label"] == published(0) == HOSTILE[0] and answer["error"] is None and answer["here"] is None
    assert answer["explanations"][1] == {
        "text": f"also {HOSTILE[0]}",
        "type": "eleuther_acts_top20",
        "explainer": "claude-3-5-haiku",
    }
    assert answer["top_positive_tokens"][2] == "<script>" and answer["top_negative_tokens"] == [" not0"]
    assert (answer["max_activation"], answer["density_neuronpedia"]) == (5.0, 0.0)
    assert answer["neuronpedia"] == f"https://www.neuronpedia.org/{NEURONPEDIA_ID}/0"
    assert served.api("features/10")["error"] == "not on Neuronpedia"
    assert served.api("features/12")["error"].startswith("HTTP 500")


def test_search_finds_labels_by_words_as_they_are_typed(served: Dashboard) -> None:
    answer = served.api("search", query="cryptog", limit=5)
    holds = [i for i in range(WIDTH) if "cryptography" in (published(i) or "")]
    assert answer["total"] == len(holds) and len(answer["features"]) == 5
    for one in answer["features"]:
        assert "cryptography" in one["label"] and ["cryptography", True] in one["marked"]
        assert "".join(piece for piece, _ in one["marked"]).count("cryptography") >= 1
    assert answer["figures_of"] == "neuronpedia"
    for query in ('"', ".", '"dogs', "a" * 900, "x\0y", "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")):
        assert isinstance(served.api("search", query=query)["features"], list)


def test_search_sorts_matches_and_all_features_by_their_figures(served: Dashboard) -> None:
    known = {i: 5.0 + i % 40 for i in range(WIDTH) if i not in (10, 11, 12)}
    answer = served.api("search", sort="max", limit=WIDTH)
    assert answer["total"] == WIDTH
    by_max = sorted(known, key=lambda i: (-known[i], i))
    assert [one["index"] for one in answer["features"]] == [*by_max, 10, 11, 12]
    assert [one["max"] for one in answer["features"]] == [*(known[i] for i in by_max), None, None, None]
    rising = [one["index"] for one in served.api("search", sort="max", order="asc", limit=WIDTH)["features"]]
    assert rising == [*sorted(known, key=lambda i: (known[i], i)), 10, 11, 12]
    found = served.api("search", query="weather", sort="density", limit=200)["features"]
    assert [one["density"] for one in found] == sorted((one["density"] for one in found), reverse=True) and found
    assert [one["index"] for one in served.api("search", limit=3)["features"]] == [0, 1, 2]
    assert [one["index"] for one in served.api("search", sort="index", order="desc", limit=2)["features"]] == [511, 510]


def test_search_by_where_features_fire(served: Dashboard, truth: Array) -> None:
    own = counted_of(truth, 2).sum(0, dtype=np.float64)
    answer = served.api("search", document=2, limit=WIDTH)
    assert answer["total"] == int((own > 0).sum())
    found = [one["index"] for one in answer["features"]]
    assert near([one["here"] for one in answer["features"]], own[found]) and np.all(np.diff(own[found]) <= 0)
    both = served.api("search", document=2, query="dogs", limit=WIDTH)["features"]
    assert {one["index"] for one in both} == {i for i in found if "dogs" in (label(i))} - {10, 11, 12, 13, 14, 15}


@pytest.mark.parametrize(("a", "b"), [("0", "1-4"), ("1-2,5", "rest"), ("rest", "3"), ("0,0-1", "2,6,3-5"), ("4", "")])
def test_features_that_fire_more_in_one_selection_than_in_another(
    served: Dashboard, truth: Array, a: str, b: str
) -> None:
    def rows(text: str, other: str) -> Array:
        if text in ("rest", ""):
            return np.setdiff1d(np.flatnonzero(COUNTED), rows(other, ""))
        parts = [part.split("-") for part in text.split(",")]
        found = np.unique(np.concatenate([np.arange(STARTS[int(p[0])], STARTS[int(p[-1]) + 1]) for p in parts]))
        return found[COUNTED[found]]

    n_rows = [len(rows(a, b)), len(rows(b, a))]
    counts = [(truth[r] != 0).sum(0) for r in (rows(a, b), rows(b, a))]
    fires = sum(counts) > 0
    ratio = np.log2((counts[0] + 0.5) / (n_rows[0] + 1) / ((counts[1] + 0.5) / (n_rows[1] + 1)))
    z = ratio * np.log(2) / np.sqrt(1 / (counts[0] + 0.5) + 1 / (counts[1] + 0.5))
    for sort, expected in (("match", z), ("z", z), ("log_ratio", ratio)):
        answer = served.api("search", a=a, b=b, limit=WIDTH, sort=sort)
        assert answer["total"] == fires.sum()
        found = [one["index"] for one in answer["features"]]
        assert near([one["log_ratio"] for one in answer["features"]], ratio[found])
        assert near([one["z"] for one in answer["features"]], z[found])
        assert np.all(np.diff(expected[found]) <= 1e-9)
        fewest = served.api("search", a=a, b=b, limit=1, sort=sort, order="asc")["features"][0]["index"]
        assert expected[fewest] == pytest.approx(expected[fires].min())


@pytest.mark.parametrize(("a", "b"), [("row:1", "row:30"), ("doc:0", "doc:3"), ("row:0", "doc:5"), ("doc:2", "row:50")])
def test_compared_tokens_and_documents_differ_as_they_should(served: Dashboard, truth: Array, a: str, b: str) -> None:
    def values(side: str) -> Array:
        number = int(side[4:])
        if side.startswith("row"):
            return truth[number].astype(float)
        return counted_of(truth, number).mean(0, dtype=np.float64)

    left, right = values(a), values(b)
    answer = served.api("compare", a=a, b=b, limit=30)
    assert answer["total"] == int(((left != 0) | (right != 0)).sum())
    found = [one["index"] for one in answer["features"]]
    difference = left - right
    assert near([one["difference"] for one in answer["features"]], difference[found])
    assert len(found) == min(30, answer["total"])
    assert near(np.abs(difference[found]), np.sort(np.abs(difference))[::-1][: len(found)])
    assert near([one["a"] for one in answer["features"]], left[found])
    assert near([one["b"] for one in answer["features"]], right[found])
    assert (answer["a"]["kind"], answer["b"]["id"]) == (a[:3], int(b[4:]))


def test_health_tells_of_each_shard(served: Dashboard, truth: Array) -> None:
    answer = served.api("health")
    names = [shard["name"] for shard in answer["shards"]]
    worst, *others = SHARDS[1], SHARDS[0], *SHARDS[2:]
    assert answer["total"] == 5 and names == [worst, *others]
    answer["shards"].sort(key=lambda shard: SHARDS.index(shard["name"]))
    bounds = np.cumsum([0, 20, 151, 0, 25, 12])
    for shard, start, stop in zip(answer["shards"], bounds[:-1], bounds[1:], strict=True):
        own, counted = truth[start:stop], COUNTED[start:stop]
        l0 = (own[counted] != 0).sum(1)
        assert (shard["rows"], shard["nnz"], shard["max_l0"]) == (stop - start, (own != 0).sum(), l0.max(initial=0))
        assert shard["excluded"]["mask"] == (~counted).sum() and near(shard["mean_l0"], l0.mean() if len(l0) else 0)
        edges, counts = shard["l0_histogram"]["edges"], shard["l0_histogram"]["counts"]
        assert counts == np.histogram(l0, edges)[0].tolist() and sum(counts) == counted.sum() and len(edges) < 23
        assert (shard["explained_variance"], shard["cosine"], shard["values"]) == (0.812, 0.93, "float32")
    assert answer["shards"][1]["warnings"] == ["explains just 12%"]
    assert answer["shards"][1]["notes"] == ["2 files were read as one"]
    (download,) = answer["downloads"]
    assert (download["total"], download["missing"], download["failed"], download["state"]) == (WIDTH, 2, 1, "partial")
    assert download["command"].startswith("saefetch download --data-dir ")
    assert [one["name"] for one in served.api("health", offset=1, limit=2)["shards"]] == others[:2]
