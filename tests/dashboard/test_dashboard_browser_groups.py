"""Groups in a real browser: chips over the documents, pickers for A and B, a plot that is brushed."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from browser import go, page_of
from dashboard_data import made_up, write_labels, write_shard
from dashboard_server import Dashboard, settings_for
from playwright.sync_api import Browser, Page, expect

from dashboard.model.data import Data
from encoder.index.build import build_index


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    folder = tmp_path_factory.mktemp("grouped")
    write_labels(folder / "sae")
    (folder / "features").mkdir()
    for seed, name in enumerate(("prose__fox", "prose__hen", "verse__odes")):
        write_shard(folder / "features" / f"{name}.npz", made_up(60, seed, density=0.03 * (seed + 1)))
    build_index(folder / "features")
    with Dashboard(Data(settings_for(folder))) as dashboard:
        yield dashboard


@pytest.fixture
def page(browser: Browser, grouped: Dashboard) -> Iterator[Page]:
    with page_of(browser, grouped.address) as page:
        yield page


def test_chips_over_the_documents_show_one_group(page: Page) -> None:
    go(page, "#/documents")
    page.get_by_role("button", name="prose 2").click()
    expect(page.locator("a.document")).to_have_count(2)
    expect(page).to_have_url(re.compile("group=prose$"))
    page.reload()
    expect(page.locator("a.document")).to_have_count(2)
    page.get_by_role("link", name="What fires more in it").click()
    expect(page.get_by_label("Selection A")).to_have_value("prose")
    expect(page.locator(".scatter circle").first).to_be_attached()


def test_what_is_half_typed_waits_and_an_overlap_is_said(page: Page) -> None:
    go(page, "#/features?a=prose&b=verse")
    rows = page.locator("main li")
    expect(rows.first).to_be_visible()
    first = rows.first.inner_text()
    box = page.get_by_label("Selection B")
    box.fill("vers")
    expect(page.locator(".bad")).to_contain_text([re.compile("vers")])
    expect(rows.first).to_have_text(re.compile(re.escape(first.split("\n")[0][:20])))
    box.fill("verse, 1")
    expect(page.get_by_text("in common, such as prose__hen")).to_be_visible()
    box.fill("verse")
    expect(page.get_by_text("in common")).to_have_count(0)
    assert page.locator("#groups option").evaluate_all("all => all.map((one) => one.value)") == ["prose", "verse"]


def test_brushing_the_plot_filters_the_list(page: Page) -> None:
    go(page, "#/features?a=prose&b=verse")
    dots = page.locator(".scatter circle")
    expect(dots.first).to_be_attached()
    n = int(page.get_by_role("status").inner_text().split()[0])
    assert dots.count() == n
    assert 0 < page.locator(".scatter text").count() - 2 <= 8
    box = page.locator(".scatter").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] / 2)
    page.mouse.up()
    expect(page).to_have_url(re.compile("within="))
    expect(page.get_by_role("status")).not_to_have_text(f"{n} features")
    assert int(page.get_by_role("status").inner_text().split()[0]) < n
    ratios = page.locator("li .figure.added").all_inner_texts()[1::2]
    assert ratios and all(not text.split()[-1].startswith("-") for text in ratios)
    page.mouse.click(box["x"] + 5, box["y"] + 5)
    expect(page.get_by_role("status")).to_have_text(f"{n} features")


def test_groups_are_compared(page: Page) -> None:
    go(page, "#/compare?a=docs:prose&b=docs:verse")
    expect(page.locator("a.side.a")).to_contain_text("prose: 2 documents")
    expect(page.get_by_label("A is a")).to_have_value("docs")
    expect(page.locator("li").first).to_be_visible()
