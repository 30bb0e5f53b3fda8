"""Where a feature fires: strength bands, a table of documents, and what fires together with it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from browser import go
from dashboard_data import EXCLUDED_ROWS
from dashboard_server import Dashboard
from playwright.sync_api import Page, expect

DOCUMENTS = ((0, 20), (20, 50), (50, 51), (51, 131), (131, 171), (171, 196), (196, 10196), (10196, 10208))


@pytest.fixture
def column(matrix: Any) -> np.ndarray:
    found: np.ndarray = matrix[:, 42].toarray()[:, 0].astype(np.float64)
    found[list(EXCLUDED_ROWS)] = 0
    return found


def test_documents_are_listed_with_their_figures_by_each_of_them(served: Dashboard, column: np.ndarray) -> None:
    excluded = np.isin(np.arange(len(column)), EXCLUDED_ROWS)
    truth = {}
    for number, (start, stop) in enumerate(DOCUMENTS):
        values = column[start:stop]
        if values.any():
            n = int((values > 0).sum())
            truth[number] = {
                "count": n,
                "sum": values.sum(),
                "max": values.max(),
                "share": n / (stop - start - excluded[start:stop].sum()),
            }
    for sort in ("sum", "count", "max", "share"):
        answer = served.api("features/42/documents", sort=sort)
        assert answer["total"] == len(truth)
        order = sorted(truth, key=lambda number: (-truth[number][sort], number))
        assert [one["document"] for one in answer["documents"]] == order
        for one in answer["documents"]:
            for name, expected in truth[one["document"]].items():
                assert one[name] == pytest.approx(expected, rel=1e-5)
            assert max(one["strip"]) == pytest.approx(one["max"], rel=1e-5)
    assert served.api("features/7/documents") == {"total": 0, "documents": []}
    assert served.refused("features/42/documents", sort="x")[0] == 400


def test_what_fires_together_goes_by_pmi(served: Dashboard, matrix: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboard.model.occurrences.LEAST_SHARE", 0.0)
    counted = matrix[np.setdiff1d(np.arange(matrix.shape[0]), EXCLUDED_ROWS)]
    fires = (counted > 0).astype(np.float64)
    rows = np.flatnonzero(fires[:, 41].toarray()[:, 0])
    hits = np.asarray(fires[rows].sum(axis=0))[0]
    density = np.asarray(fires.mean(axis=0))[0]
    answer = served.api("features/41/together", limit=200)
    assert answer["looked_at"] == len(rows) < 1000
    assert 41 not in [one["index"] for one in answer["features"]]
    for one in answer["features"]:
        assert one["hits"] == hits[one["index"]] >= 2
        assert one["pmi"] == pytest.approx(np.log2(hits[one["index"]] / len(rows) / density[one["index"]]))
    assert [one["pmi"] for one in answer["features"]] == sorted(
        (one["pmi"] for one in answer["features"]), reverse=True
    )


def test_bounds_of_strength_are_kept(served: Dashboard, column: np.ndarray) -> None:
    most = column.max()
    answer = served.api("features/42/top", above=0.5 * most, below=0.75 * most, limit=200)
    within = column[(column >= 0.5 * most) & (column < 0.75 * most)]
    assert answer["total"] == len(within)
    assert np.allclose([one["value"] for one in answer["contexts"]], np.sort(within)[::-1][:200])


def test_a_feature_page_has_bands_a_table_of_documents_and_what_fires_with_it(page: Page, column: np.ndarray) -> None:
    go(page, "#/features/42")
    middles = [page.locator(".contexts .token.at").nth(i).bounding_box() for i in range(5)]
    lefts = [round(box["x"]) for box in middles if box]
    assert max(lefts) - min(lefts) < 12, "the tokens are below each other"
    page.get_by_label("Width").select_option("30")
    page.get_by_label("line breaks").check()
    expect(page).to_have_url(re.compile("width=30&breaks=1$"))
    expect(page.locator(".context.occurrence")).to_have_count(0)
    page.get_by_label("How strong").select_option("bands")
    bands = page.locator(".contexts h3")
    expect(bands).to_have_count(4)
    boxes = [bands.nth(i).bounding_box() for i in (0, 1)]
    assert boxes[0] and boxes[1] and boxes[0]["y"] == boxes[1]["y"] and boxes[0]["x"] < boxes[1]["x"]
    page.get_by_label("once a document").uncheck()
    strong = int((column >= 0.75 * column.max()).sum())
    expect(bands.first).to_have_text(f"75 to 100 % of its max {strong}")

    table = page.get_by_role("group", name="Documents").get_by_role("table")
    expect(table.locator("tbody tr")).to_have_count(7)
    table.get_by_role("button", name="max").click()
    expect(table.get_by_role("columnheader", name="max")).to_have_attribute("aria-sort", "descending")
    expect(table.locator("tbody tr").first).to_contain_text(f"{column.max():.1f}")
    expect(table.locator("svg rect").first).to_be_attached()
    expect(page.get_by_text("Fires together with")).to_be_visible()
