"""An export in a real browser, beside a server that has the same documents and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import go, page_of, settle
from dashboard_data import (
    WIDTH,
    write_features,
    write_labels,
)
from dashboard_server import Dashboard, settings_for
from playwright.sync_api import Browser, expect

from dashboard.export import export
from dashboard.model.data import Data
from dashboard.page import WebFiles
from encoder.index.build import build_index


@pytest.fixture(scope="module", params=["folder", "file"])
def part(request: pytest.FixtureRequest, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of an export of the first five documents."""
    is_one = request.param == "file"
    out = tmp_path_factory.mktemp("part") / ("page.html" if is_one else "page")
    with Data(settings_for(folder)).look() as look:
        export(look, out, "0-4", WebFiles())
    return (out if is_one else out / "index.html").as_uri()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    """A server that has the first five documents and nothing else."""
    path = tmp_path_factory.mktemp("alone")
    write_labels(path / "sae")
    write_features(path / "features")
    for name in ("empty", "ids", "nothing"):
        (path / "features" / f"{name}.npz").unlink()
    build_index(path / "features")
    with Dashboard(Data(settings_for(path))) as dashboard:
        yield dashboard


TOKENS = [{"start": 3, "stop": 9, "colour": colour} for colour in ("l0", "top", "feature:300", "feature:7")]

SORTED = [
    {"sort": sort, "order": order} for sort in ("density", "max", "count", "index") for order in ("asc", "desc", "")
]

WHERE = [
    {"document": 2},
    {"document": 2, "order": "asc"},
    {"document": 0, "sort": "max", "offset": 5, "limit": 9},
    {"a": "0", "b": "1-4"},
    {"a": "0", "b": "1-4", "sort": "log_ratio", "order": "asc"},
    {"a": "0", "b": "1-4", "document": 0, "sort": "z"},
]

REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("documents", {"offset": 1, "limit": 2}),
    ("documents", {"query": "TELL me"}),
    *((f"documents/{number}/tokens", parameters) for number in (0, 3) for parameters in [*TOKENS, {}]),
    *((f"rows/{row}", {}) for row in (0, 1, 4, 20, 58, 90, 170)),
    *((f"features/{index}", {}) for index in (0, 42, 300)),
    *(
        (f"features/{index}/top", {"distinct": distinct, "limit": 4, "offset": 2})
        for index in (1, 42)
        for distinct in (1, "")
    ),
    *(("search", parameters) for parameters in [*SORTED, *WHERE]),
]

ASK_ALL = """async (requests) => {
  const answers = [];
  for (const [path, params] of requests) answers.push(await sae.source.get(path, params));
  return answers;
}"""


def test_the_page_without_a_server_gives_the_same_answers(browser: Browser, alone: Dashboard, part: str) -> None:
    answers = []
    for address in (alone.address, part):
        with page_of(browser, address) as page:
            page.wait_for_selector("main h1")
            answers.append(page.evaluate(ASK_ALL, REQUESTS))
    for request, served, static in zip(REQUESTS, *answers, strict=True):
        if request[0] == "search":  # an export has the features that fire in it
            served["features"] = [one for one in served["features"] if one["count"]]
            static["features"] = static["features"][: len(served["features"])]
            served["total"] = static["total"] if served["total"] == WIDTH else served["total"]
        if "scale" in served:  # of a feature it is one of the values, which are float32
            assert served.pop("scale") == pytest.approx(static.pop("scale"))
        for name in ("share", "share_here"):
            if "active" in served:
                assert served["active"].pop(name) == pytest.approx(static["active"].pop(name))
        if "here" in served:
            assert served["here"].pop("mean") == pytest.approx(static["here"].pop("mean"))
        assert static == served, request


def test_the_page_without_a_server_shows_the_same(browser: Browser, alone: Dashboard, part: str) -> None:
    pages: dict[str, list[str]] = {"served": [], "static": []}
    routes = (
        "#/documents/0?at=4&colour=feature:300",
        "#/documents/3?colour=top",
        "#/features/42?distinct=0",
        "#/features?document=2",
        "#/features?a=0&b=1-4",
    )
    for name, address in (("served", alone.address), ("static", part)):
        with page_of(browser, address) as page:
            expect(page.locator("a.document")).to_have_count(5)
            for route in routes:
                go(page, route)
                page.wait_for_selector("main li")
                settle(page)
                texts = [page.locator(f"main {what}").all_inner_texts()[:12] for what in ("li", ".token", ".most")]
                pages[name].append(f"{route}\n{texts}")
    assert pages["static"] == pages["served"]


def test_the_page_without_a_server_says_what_it_is_and_what_it_cannot(browser: Browser, part: str) -> None:
    with page_of(browser, part, refused="ERR_FILE_NOT_FOUND") as page:
        expect(page.locator("#banner")).to_have_text(
            "This page holds 5 of 8 documents. All figures are of these 5 alone."
        )
        expect(page.get_by_role("link", name="Compare")).to_have_count(0)
        go(page, "#/features?query=dogs")
        expect(page.locator("main mark").first).to_have_text("dogs")
        go(page, "#/health")
        expect(page.locator("main")).to_contain_text("2 shards")
        expect(page.locator("main")).to_contain_text("figures are of the whole of each shard")
        go(page, "#/documents/3?at=4")
        expect(page.locator(".token-head").first).to_contain_text("fire")
        expect(page.get_by_role("button", name="Keep to compare")).to_have_count(0)
        page.get_by_role("link", name="What fires more here than elsewhere").click()
        expect(page.locator("li .figure.added").first).to_be_visible()
        for route, words in (
            ("#/compare", "run sae-dashboard"),
            ("#/features?a=0-1", "More needs sae-dashboard"),
            ("#/documents/7", "a part of the data only"),
            ("#/features/7", "fires in none of the documents of this page"),
        ):
            go(page, route)
            expect(page.locator("main")).to_contain_text(words)
