"""The dashboard's features in a real browser: found, opened, compared."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from browser import go, page_of, strongest
from dashboard_data import (
    EXCLUDED_ROWS,
    HOSTILE,
    label,
    published,
)
from dashboard_server import Dashboard
from playwright.sync_api import Browser, Page, expect


def test_back_leads_to_where_one_was(page: Page) -> None:
    go(page, "#/features?sort=index")
    rows = page.locator("main li")
    expect(rows.first).to_be_visible()
    page.locator(".virtual").evaluate("node => node.scrollTo(0, 13600)")
    expect(page.get_by_role("link", name=re.compile("^290 "))).to_be_visible()
    page.wait_for_timeout(400)  # the page keeps how far it is scrolled when the scrolling has ended
    page.get_by_role("link", name=re.compile("^290 ")).click()
    expect(page.locator("h1")).to_have_text("Feature 290")
    page.go_back()
    expect(page.get_by_role("link", name=re.compile("^290 "))).to_be_visible()
    page.get_by_role("link", name=re.compile("^290 ")).focus()
    page.keyboard.press("End")
    expect(page.get_by_role("link", name=re.compile("^511 "))).to_be_focused()
    page.keyboard.press("Home")
    expect(page.get_by_role("link", name=re.compile("^0 "))).to_be_focused()


def test_a_feature_is_found_by_its_number(page: Page) -> None:
    go(page, "#/features/42")
    page.keyboard.press("/")
    expect(page.get_by_label("Search labels")).to_be_focused()
    page.keyboard.type("#300")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Feature 300")


def test_a_number_is_read_as_people_write_it_and_one_that_is_too_large_is_said_so(page: Page) -> None:
    box = page.get_by_label("Search labels")
    for typed in ("300", "feature 300", "# 300", "0,300"):
        go(page, "#/features")
        box.fill(typed)
        expect(page.get_by_role("link", name="Feature 300 →")).to_be_visible()
        box.press("Enter")
        expect(page.locator("h1")).to_have_text("Feature 300")
    go(page, "#/features")
    box.fill("1,850")
    expect(page.get_by_text("There is no feature 1,850: they go from 0 to 511.")).to_be_visible()
    box.fill("1,8")
    expect(page.get_by_text("There is no feature")).to_have_count(0)


def test_arrows_and_enter_lead_from_the_box_into_the_list(page: Page) -> None:
    go(page, "#/features")
    box = page.get_by_label("Search labels")
    box.fill("cryptography -kind")
    expect(page.locator("main")).to_contain_text("-word leaves a word out")
    box.fill("cryptografy kind")
    page.get_by_role("button", name="cryptography kind").click()
    expect(box).to_have_value("cryptography kind")
    rows = page.locator("main li a")
    expect(rows.first).to_contain_text("cryptography")
    box.press("ArrowDown")
    expect(rows.first).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(rows.nth(1)).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    expect(box).to_be_focused()
    number = (rows.first.locator(".index").inner_text()).strip()
    box.press("Enter")
    expect(page.locator("h1")).to_have_text(f"Feature {number}")
    go(page, "#/documents")
    page.keyboard.press("/")
    page.keyboard.type("Tell me")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Document 0")


def test_hostile_labels_are_text_and_nothing_else(page: Page) -> None:
    for index, label_text in HOSTILE.items():
        text = re.sub("[\u202a-\u202e]", "\ufffd", re.sub(r"\s+", " ", label_text)).strip()
        go(page, f"#/features/{index}")
        shown = page.locator(".lead bdi")
        expect(shown).to_be_visible()
        assert re.sub(r"\s+", " ", shown.evaluate("node => node.textContent")).strip() in (text, f"also {text}")
        assert page.locator(FOREIGN).count() == 0
        box = shown.bounding_box()
        assert box and box["x"] + box["width"] <= 1280
    go(page, "#/features?sort=index")
    for index in HOSTILE:
        expect(page.locator("ol li").nth(index)).to_be_visible()
    assert page.locator(FOREIGN).count() == 0
    assert page.locator(".virtual").evaluate("node => node.scrollWidth <= node.clientWidth"), "they are cut, not wider"


FOREIGN = "main script, main img, main iframe"


def test_labels_are_searched_as_one_types(page: Page) -> None:
    go(page, "#/features")
    page.keyboard.press("/")
    page.keyboard.type("cryptog")
    marks = page.locator("main mark")
    expect(marks.first).to_have_text("cryptography")
    expect(page.get_by_role("status")).to_contain_text(re.compile(r"^6\d features$"))
    page.get_by_label("Sort by").select_option("max")
    expect(page).to_have_url(re.compile("query=cryptog&sort=max"))
    expect(page.locator("li .figure.max").first).to_be_visible()
    largest = [float(text.split()[-1]) for text in page.locator("li .figure.max").all_inner_texts()[:20]]
    assert largest == sorted(largest, reverse=True)
    page.get_by_label("Order").select_option("asc")
    expect(page.locator("li .figure.max").first).not_to_contain_text(f"{largest[0]}")
    page.get_by_label("Search labels").fill("nothing like this")
    expect(page.locator("main")).to_contain_text("No feature is like this")
    page.get_by_label("Search labels").fill('"')
    expect(page.locator("main")).to_contain_text("No feature is like this")


def test_features_are_found_by_where_they_fire(page: Page, browser: Browser, served: Dashboard, matrix: Any) -> None:
    go(page, "#/features")
    page.get_by_label("Only features that fire in this document").fill("2")
    expect(page.get_by_role("status")).to_have_text(f"{matrix[50].nnz} features")
    first = strongest(matrix, 50)[0]
    expect(page.locator("li .index").first).to_have_text(str(first[0]))
    page.get_by_label("Only features that fire in this document").fill("")
    page.get_by_label("Selection A of documents").fill("0")
    page.get_by_label("Sort by").select_option("log_ratio")
    rest = np.setdiff1d(np.arange(20, matrix.shape[0]), EXCLUDED_ROWS)
    counts = [np.diff(part.tocsc().indptr) for part in (matrix[:20], matrix[rest])]
    rates = [(count + 0.5) / (n + 1) for count, n in zip(counts, (20, len(rest)), strict=True)]
    ratio = np.log2(rates[0] / rates[1])
    expect(page.locator("li .figure.added").nth(1)).to_contain_text(f"{ratio[np.add(*counts) > 0].max():.2f}")
    with page_of(browser, served.address, refused="400") as page:
        go(page, "#/features?a=0-99")
        expect(page.get_by_role("alert").last).to_contain_text("there are 8, counted from 0")


def test_a_feature_has_a_page(page: Page, matrix: Any) -> None:
    go(page, "#/features/42")
    column = matrix[:, 42].toarray()[:, 0]
    column[list(EXCLUDED_ROWS)] = 0
    expect(page.locator(".lead")).to_have_text(published(42) or "")
    main = page.locator("main")
    for text in (label(42), "gpt-4o-mini", "claude-3-5-haiku", "▁puppy".replace("▁", " "), "<script>"):
        expect(main).to_contain_text(text)
    expect(page.get_by_role("row", name="tokens")).to_contain_text(f"{(column > 0).sum()}")
    expect(page.get_by_role("row", name="max activation")).to_contain_text(f"{column.max():.1f}")
    expect(page.get_by_role("img", name=re.compile("Histogram of"))).to_be_visible()
    link = page.get_by_role("link", name="On Neuronpedia")
    assert link.get_attribute("href") == "https://www.neuronpedia.org/gemma-2-2b/16-gemmascope-res-16k/42"
    contexts = page.locator(".contexts li")
    expect(contexts).to_have_count(7)
    page.get_by_label("once a document").uncheck()
    expect(contexts).to_have_count(20)
    expect(page).to_have_url(re.compile("distinct=0$"))
    page.get_by_role("button", name="More").click()
    expect(contexts).to_have_count(40)
    values = [float(text) for text in page.locator(".contexts .value").all_inner_texts()]
    assert values == sorted(values, reverse=True) and values[0] == pytest.approx(column.max(), rel=0.01)
    page.get_by_label("How strong").select_option("0.5")
    expect(page).to_have_url(re.compile("distinct=0&below=0.5$"))
    half = column[column < column.max() / 2].max()
    expect(page.locator(".contexts .value").first).to_have_text(f"{half:.1f}")
    page.get_by_label("How strong").select_option("")
    expect(page.locator(".contexts .value").first).to_have_text(f"{column.max():.1f}")
    contexts.first.locator("a").click()
    row = int(column.argmax())
    expect(page.locator(f"#t{row - 196}.held")).to_be_attached()
    expect(page.locator(f"#t{row - 196}")).to_have_attribute("data-heat", "10")
    expect(page.locator(f"#t{row - 196}")).to_be_in_viewport()


def test_two_tokens_and_two_documents_are_compared(page: Page, matrix: Any) -> None:
    go(page, "#/documents/0?at=4")
    page.get_by_role("button", name="Keep to compare").click()
    page.locator("#t3").click()
    page.get_by_role("link", name="Compare with the kept one").click()
    expect(page.locator("h1")).to_have_text("Compare")
    difference = np.abs((matrix[4] - matrix[3]).toarray()[0])
    first = page.locator("ol li").first
    expect(first.locator(".index")).to_have_text(str(difference.argmax()))
    expect(page.locator("a.side.a")).to_contain_text(" dogs")
    before = first.locator(".figure.a").inner_text().split()[-1]
    page.get_by_role("button", name="Swap A and B").click()
    expect(first.locator(".figure.b")).to_contain_text(before)
    expect(page).to_have_url(re.compile("a=row:capture@3&b=row:capture@4$"))
    page.get_by_label("Which is A").fill("3:7")  # the eighth token of document 3
    expect(page.locator("a.side.a")).to_contain_text("document 3, token 7")
    expect(page).to_have_url(re.compile("a=row:corpus__part-0:2@7&b=row:capture@4$"))
    page.get_by_label("Which is A").fill("3")
    page.get_by_label("Which is B").fill("4")
    page.get_by_label("A is a").select_option("doc")
    page.get_by_label("B is a").select_option("doc")
    counted = [np.setdiff1d(np.arange(*bounds), EXCLUDED_ROWS) for bounds in ((51, 131), (131, 171))]
    means = [np.asarray(matrix[rows].mean(axis=0))[0] for rows in counted]
    expect(first.locator(".index")).to_have_text(str(np.abs(means[0] - means[1]).argmax()))


def test_a_late_answer_does_not_take_one_back(page: Page) -> None:
    page.wait_for_timeout(500)  # until nothing waits to be written
    page.evaluate(LEAVE_AS_IT_ANSWERS)
    page.evaluate("location.hash = '#/compare?a=row:4'")
    expect(page.locator("h1")).to_have_text("Features")
    page.wait_for_timeout(300)  # longer than an address waits to be written
    assert page.url.endswith("#/features")
    expect(page.locator("h1")).to_have_text("Features")


LEAVE_AS_IT_ANSWERS = """() => {
  const get = sae.source.get;
  let left = false;
  sae.source.get = async (path, ...rest) => {
    const told = await get(path, ...rest);
    if (path === "compare" && !left) location.hash = "#/features";
    left ||= path === "compare";
    return told;
  };
}"""
