"""Every answer of the API has the type that `dashboard.views.shapes` says: no key more, no key less, no other type."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

import pytest
from dashboard_data import write_features, write_labels, write_queue
from dashboard_server import Dashboard, settings_for

from dashboard.model.data import Data
from dashboard.views.shapes import base, documents, features, groups, state, words
from encoder.index.build import build_index


def differences(value: Any, expected: Any, where: str = "") -> list[str]:
    """Return where a JSON value is not of the expected type."""
    origin, args = get_origin(expected), get_args(expected)
    if is_typeddict(expected):
        if not isinstance(value, dict) or set(value) != set(get_type_hints(expected)):
            return [f"{where}: {value!r:.200} is no {expected.__name__}"]
        hints = get_type_hints(expected)
        return [one for name in hints for one in differences(value[name], hints[name], f"{where}.{name}")]
    if origin in (Union, types.UnionType):
        tries = [differences(value, one, where) for one in args]
        return min(tries, key=lambda found: max(map(len, found), default=0) if found else -1) if all(tries) else []
    if origin is Literal:
        return [] if value in args else [f"{where}: {value!r} is none of {args}"]
    if origin is tuple:
        if not isinstance(value, list) or len(value) != len(args):
            return [f"{where}: {value!r:.200} is no {expected}"]
        return [one for item, kind in zip(value, args, strict=True) for one in differences(item, kind, where)]
    if origin is not None:  # a list or another sequence
        if not isinstance(value, list):
            return [f"{where}: {value!r:.200} is no list"]
        return [one for i, item in enumerate(value) for one in differences(item, args[0], f"{where}[{i}]")]
    if expected is float and type(value) is int:
        return []
    is_one = value is None if expected in (None, type(None)) else type(value) is expected
    return [] if is_one else [f"{where}: {value!r:.200} is no {expected}"]


ANSWERS = (
    ("summary", state.Summary),
    ("documents", documents.DocumentList),
    ("documents/0/tokens", documents.DocumentTokens),
    ("documents/3/tokens?colour=top", documents.DocumentTokens),
    ("documents/6/tokens?colour=feature:11", documents.DocumentTokens),
    ("documents/2/features", documents.DocumentFeatures),
    ("documents/3/lanes?features=300,7&bins=9", documents.Lanes),
    ("rows/1", documents.Row),
    ("rows/70", documents.Row),
    ("rows/0", documents.Row),
    ("features/0", features.Feature),
    ("features/7", features.Feature),
    ("features/10", features.Feature),
    ("features/42/documents?sort=max", features.FeatureDocuments),
    ("features/42/together", features.Together),
    ("search?query=dogs", features.FeatureList),
    ("search?sort=density&limit=600", features.FeatureList),
    ("search?document=2", features.FeatureList),
    ("search?a=0&b=rest", features.FeatureList),
    ("compare?a=row:1&b=doc:3", features.Comparison),
    ("groups?a=0&b=rest", groups.GroupList),
    ("contrast?a=0&b=rest", groups.ContrastPlot),
    ("words?word=dogs", words.WordOccurrences),
    ("words/features?word=dogs", words.WordFeatures),
    ("health", state.Health),
)


@pytest.fixture(scope="module", params=["everything", "features alone", "nothing", "damaged labels"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Dashboard]]:
    folder = tmp_path_factory.mktemp("shapes")
    if request.param != "nothing":
        write_features(folder / "features")
    if request.param == "everything":
        write_labels(folder / "sae")
        build_index(folder / "features")
    if request.param == "damaged labels":
        damaged = write_labels(folder / "sae", sae_id="another") / "labels.sqlite"
        damaged.write_bytes(b"no database" * 100)
    queue = None if request.param == "nothing" else write_queue(folder / "queue")
    with Dashboard(Data(settings_for(folder, queue=queue))) as dashboard:
        yield request.param, dashboard


@pytest.mark.parametrize(("address", "shape"), [*ANSWERS, ("features/3/top", features.TopContexts)])
def test_an_answer_has_its_type(served: tuple[str, Dashboard], address: str, shape: type) -> None:
    what, dashboard = served
    answer = dashboard.ask(f"/api/{address}")
    if answer.status == 200 or what == "everything":
        assert differences(answer.json, shape) == []
    else:
        assert answer.status in (404, 409, 500) and answer.error


def test_the_comparison_sees_a_key_too_many_one_too_few_and_another_type() -> None:
    good = {"edges": [0.0, 1], "counts": [3]}
    assert differences(good, base.Histogram) == []
    for bad in ({**good, "more": 1}, {"edges": []}, {**good, "counts": [1.5]}, {**good, "counts": None}, None, []):
        assert differences(bad, base.Histogram), bad
