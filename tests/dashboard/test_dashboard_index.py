"""What only the index by feature can answer, against the shards themselves; and an index that comes and ages."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dashboard_data import EXCLUDED_ROWS, WIDTH, made_up, write_features, write_labels, write_shard
from dashboard_server import Dashboard, settings_for
from dashboard_truth import SHARDS, STARTS, near

from dashboard.model.data import Data
from encoder import open_features
from encoder.index.build import build_index
from saefetch.store.store import Store

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dashboard")
    write_labels(path / "sae")
    build_index(write_features(path / "features"))
    return path


@pytest.fixture(scope="module")
def truth(folder: Path) -> Array:
    with open_features(folder / "features") as features:
        dense: Array = features[:].toarray()
    dense[list(EXCLUDED_ROWS)] = 0  # rows that do not count are in no figure
    return dense


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Dashboard]:
    with Dashboard(Data(settings_for(folder))) as dashboard:
        yield dashboard


@pytest.mark.parametrize("index", [0, 7, 44, 511])
def test_a_feature_in_this_data(served: Dashboard, truth: Array, index: int) -> None:
    here, own = served.api(f"features/{index}")["here"], truth[:, index]
    fires = np.flatnonzero(own)
    assert (here["count"], here["density"]) == (len(fires), len(fires) / (len(own) - len(EXCLUDED_ROWS)))
    assert near([here["max"], here["mean"]], [own.max(), own[fires].mean() if len(fires) else 0])
    assert here["n_documents"] == len(set(np.searchsorted(STARTS, fires, side="right").tolist()))
    assert sum(here["histogram"]["counts"]) == len(fires)
    if len(fires):
        assert here["histogram"]["counts"] == np.histogram(own[fires], np.array(here["histogram"]["edges"]))[0].tolist()


@pytest.mark.parametrize(("index", "offset", "limit"), [(3, 0, 20), (3, 5, 3), (44, 0, 200), (7, 0, 20), (3, 10**6, 2)])
@pytest.mark.parametrize("distinct", [0, 1])
@pytest.mark.parametrize("below", [None, 5.5, 0])
def test_the_tokens_on_which_a_feature_fires_most(
    served: Dashboard, truth: Array, index: int, offset: int, limit: int, distinct: int, below: float | None
) -> None:
    asked = {"offset": offset, "limit": limit, "around": 3, "distinct": distinct}
    answer = served.api(f"features/{index}/top", **asked, **({} if below is None else {"below": below}))
    fires = np.flatnonzero((truth[:, index] > 0) & (truth[:, index] < (np.inf if below is None else below)))
    order = fires[np.argsort(-truth[fires, index], kind="stable")].tolist()
    documents = dict(zip(order, (np.searchsorted(STARTS, order, side="right") - 1).tolist(), strict=True))
    if distinct:
        order = [row for at, row in enumerate(order) if documents[row] not in {documents[o] for o in order[:at]}]
    assert answer["total"] == len(order)
    assert [context["row"] for context in answer["contexts"]] == order[offset : offset + limit]
    for context in answer["contexts"]:
        row, first = context["row"], context["row"] - context["at"]
        assert (context["document"], context["position"]) == (documents[row], row - STARTS[documents[row]])
        assert near(context["values"], truth[first : first + len(context["values"]), index])
        assert context["value"] == context["values"][context["at"]] and context["at"] <= 3
        assert first >= STARTS[documents[row]] and first + len(context["values"]) <= STARTS[documents[row] + 1]


def test_figures_are_those_of_this_data(served: Dashboard, truth: Array) -> None:
    count, largest = (truth != 0).sum(0), truth.max(0)
    for sort, values in (("density", count), ("count", count), ("max", largest)):
        answer = served.api("search", sort=sort, limit=WIDTH)
        assert answer["figures_of"] == "here" and answer["total"] == WIDTH
        found = [one["index"] for one in answer["features"]]
        assert found == np.argsort(-values, kind="stable").tolist()
        assert [one["count"] for one in answer["features"]] == count[found].tolist()
        assert near([one["max"] for one in answer["features"]], largest[found])


def test_a_rows_values_are_compared_with_the_largest_here(served: Dashboard, truth: Array) -> None:
    active = served.api("rows/30")["active"]
    assert near(active["share_here"], truth[30, active["index"]] / truth.max(0)[active["index"]])
    assert max(active["share_here"]) <= 1


def test_a_colours_scale_is_its_largest_value_in_the_document(served: Dashboard, truth: Array) -> None:
    for document in range(7):
        own = truth[STARTS[document] : STARTS[document + 1], 100]
        assert served.api(f"documents/{document}/tokens", colour="feature:100")["scale"] == pytest.approx(own.max())


@pytest.mark.parametrize(("a", "b"), [("0", "rest"), ("rest", "2"), ("0-2,4", "rest"), ("1-6", "0"), ("0-3", "4-5")])
def test_features_that_fire_more_here_than_there_are_the_same_with_and_without_the_index(
    served: Dashboard, folder: Path, tmp_path: Path, a: str, b: str
) -> None:
    (tmp_path / "sae").symlink_to(folder / "sae")
    (tmp_path / "features").mkdir()
    for path in (folder / "features").glob("*.npz"):
        (tmp_path / "features" / path.name).symlink_to(path)
    with Dashboard(Data(settings_for(tmp_path))) as without:
        found = [one.api("search", a=a, b=b, limit=WIDTH) for one in (served, without)]
    assert [one["figures_of"] for one in found] == ["here", "neuronpedia"]
    ratios = [{one["index"]: one["log_ratio"] for one in answer["features"]} for answer in found]
    assert ratios[0] == ratios[1] and len(ratios[0]) > 400


def test_health_counts_the_features_that_fire_nowhere(served: Dashboard, truth: Array) -> None:
    assert served.api("health")["densities"]["dead"] == int((truth.max(0) == 0).sum()) == 1
    summary = served.api("summary")
    assert summary["features"]["index"]["state"] == "ready" and summary["features"]["n_documents"] == 7
    assert summary["hints"] == []


def test_an_index_is_used_once_it_is_there_and_for_as_long_as_it_is_of_these_shards(tmp_path: Path) -> None:
    features = write_features(tmp_path / "features")
    with Dashboard(Data(settings_for(tmp_path))) as served:
        os.utime(features, (1e9, 1e9))

        def state() -> tuple[str, bool]:
            here = served.api("features/3")["here"]
            return served.api("summary")["features"]["index"]["state"], here is not None

        assert state() == ("missing", False) and served.refused("features/3/top")[0] == 409
        build_index(features)
        assert state() == ("ready", True)
        write_shard(features / "new.npz", made_up(4, 1))
        assert state() == ("stale", False) and served.refused("features/3/top")[0] == 409
        assert "not of these shards" in str(served.api("summary")["hints"])
        build_index(features)
        assert state() == ("ready", True) and served.api("summary")["features"]["n_shards"] == len(SHARDS) + 1
        (features / "features.csc").write_bytes(b"damaged")
        os.utime(features)
        assert state() == ("missing", False)


def test_of_several_sources_of_a_feature_the_first_that_is_live_gives_its_figures(tmp_path: Path) -> None:
    folder = write_labels(tmp_path / "sae")  # from the API, the first origin
    columns = "(idx, origin, epoch, max_activation, frac_nonzero, positive, negative)"
    with closing(Store.open(folder)) as store, store.transaction() as connection:
        connection.execute("INSERT INTO objects VALUES (7, 'part.jsonl.gz', 'etag')")
        for index, origin, largest in ((5, 7, 900.0), (10, 7, 800.0), (11, 8, 700.0)):  # of 8 there is no object
            values = (index, origin, largest)
            connection.execute(f"INSERT INTO features {columns} VALUES (?, ?, 0, ?, 0.5, '[]', '[]')", values)
    with Dashboard(Data(settings_for(tmp_path))) as served:
        found = {one["index"]: one["max"] for one in served.api("search", sort="max", limit=WIDTH)["features"]}
    assert (found[5], found[10], found[11]) == (10, 800, None) and next(iter(found)) == 10
