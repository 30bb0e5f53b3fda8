"""The whole of a document in a real browser: what is peculiar to it, what its tab says, and a sign of work."""

from __future__ import annotations

from typing import Any

import numpy as np
from browser import go
from dashboard_data import EXCLUDED_ROWS
from playwright.sync_api import Page, expect


def test_the_whole_document_goes_by_what_is_peculiar_to_it_by_sum_or_by_tokens(page: Page, matrix: Any) -> None:
    go(page, "#/documents/0")
    assert page.title() == "capture · document 0 – saefetch"
    page.get_by_role("tab", name="Whole document").click()
    rest = np.setdiff1d(np.arange(20, matrix.shape[0]), EXCLUDED_ROWS)
    counts = [np.diff(part.tocsc().indptr) + 0.5 for part in (matrix[:20], matrix[rest])]
    ratio = np.log((counts[0] / 21) / (counts[1] / (len(rest) + 1)))
    z = ratio / np.sqrt(1 / counts[0] + 1 / counts[1])
    z[counts[0] == 0.5] = -9
    sums = np.asarray(matrix[:20].sum(axis=0))[0]
    first = page.get_by_role("list", name="Features that fire in this document").locator("li").first
    for name, values in (("peculiar", z), ("sum", sums), ("tokens", counts[0])):
        page.get_by_role("group", name="Sort by").get_by_role("button", name=name).click()
        expect(first.locator(".index")).to_have_text(str(values.argmax()))
        expect(first.locator(".value")).to_contain_text(name)


def test_the_heads_of_columns_sort_and_turn_the_order(page: Page) -> None:
    go(page, "#/features?a=0&b=rest")
    heads = page.locator(".columns button")
    expect(heads).to_have_count(5)

    def numbers(name: str) -> list[float]:
        return [float(text.split()[-1].replace(",", "")) for text in page.locator(f"li .{name}").all_inner_texts()[:9]]

    heads.filter(has_text="max").press("Enter")
    expect(heads.filter(has_text="max")).to_have_text("max ▾")
    expect(page.get_by_label("Sort by", exact=True)).to_have_value("max")
    largest = numbers("max")
    assert largest == sorted(largest, reverse=True)
    heads.filter(has_text="max").click()
    expect(heads.filter(has_text="max")).to_have_text("max ▴")
    expect(page.locator("li .max").first).not_to_contain_text(str(largest[0]))
    assert numbers("max") == sorted(numbers("max"))


def test_a_list_that_waits_says_so(page: Page) -> None:
    page.evaluate(HOLD)
    page.evaluate("location.hash = '#/features'")
    expect(page.locator(".virtual.waiting")).to_have_count(1)
    delay = page.locator(".virtual").evaluate("node => getComputedStyle(node, '::before').animationDelay")
    assert delay == "0.2s"
    page.evaluate("window.go_on()")
    expect(page.locator("li a.feature").first).to_be_visible()
    expect(page.locator(".waiting")).to_have_count(0)


HOLD = """() => {
  const get = sae.source.get;
  const held = new Promise((resolve) => (window.go_on = resolve));
  sae.source.get = async (path, ...rest) => {
    if (path === "search") await held;
    return get(path, ...rest);
  };
}"""
