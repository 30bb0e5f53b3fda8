"""Long labels in a real browser: readable beside the text, in a list, on a phone, and at twice the size."""

from __future__ import annotations

import re
from typing import Any

import pytest
from browser import go, page_of, panel, settle
from dashboard_data import label, published
from dashboard_server import Dashboard
from playwright.sync_api import Browser, Page, expect

SHOWN = """node => {
  const label = node.querySelector(".label");
  const lines = new Set([...label.getClientRects()].map(({ top }) => Math.round(top)));
  return { text: label.textContent, lines: lines.size, isCut: node.scrollHeight > node.clientHeight + 2 };
}"""
SMALL = """() => [...document.querySelectorAll("button, a, input, select, summary, [role=tab], [role=separator]")]
  .filter((node) => node.checkVisibility() && !node.closest(".skip, .lead, .empty p") && !node.matches(".skip"))
  .map((node) => [node.outerHTML.slice(0, 90), (node.closest("label") ?? node).getBoundingClientRect()])
  .filter(([, { width, height }]) => (width < 24 && height < 200) || (height < 24 && width < 2000))
  .map(([text]) => text)"""


def test_the_panel_shows_a_label_of_a_hundred_characters_in_two_lines(page: Page) -> None:
    assert len(label(24)) > 90
    go(page, "#/documents/0?at=1")  # every feature fires there
    rows = panel(page).locator("a.feature")
    expect(rows.first).to_contain_text(published(511) or "")
    shown = [row.evaluate(SHOWN) for row in rows.all()[:6]]
    assert all(one["lines"] <= 2 and not one["isCut"] for one in shown), shown
    line, figure = (panel(page).locator(what).first.bounding_box() for what in ("a.feature", ".figure.value"))
    assert line and figure and figure["y"] >= line["y"] + line["height"] - 1, "what is measured is below the label"
    expect(panel(page).locator("li").first).to_contain_text("activation")


def test_the_panel_is_made_wider_by_mouse_and_keys_and_stays_so(page: Page) -> None:
    go(page, "#/documents/0?at=4")
    bar, aside = page.get_by_role("separator"), page.locator(".panel")
    expect(bar).to_have_attribute("aria-valuenow", "40")
    box, before = bar.bounding_box(), aside.bounding_box()
    assert box and before
    page.mouse.move(box["x"] + 5, box["y"] + 300)
    page.mouse.down()
    page.mouse.move(box["x"] - 250, box["y"] + 300)
    page.mouse.up()
    after = aside.bounding_box()
    assert after and after["width"] == pytest.approx(before["width"] + 255, abs=15)
    bar.press("ArrowRight")
    bar.press("ArrowRight")
    narrower = aside.bounding_box()
    assert narrower and narrower["width"] == pytest.approx(after["width"] - 102, abs=10)
    now = bar.get_attribute("aria-valuenow")
    page.reload()
    expect(page.get_by_role("separator")).to_have_attribute("aria-valuenow", now or "")


def test_on_a_phone_the_text_has_most_of_the_screen_and_the_panel_is_a_sheet(
    browser: Browser, served: Dashboard
) -> None:
    with page_of(browser, f"{served.address}#/documents/3?at=4", size="phone") as page:
        rows = panel(page).locator("li")
        expect(rows.first).to_be_in_viewport(ratio=0.9)
        flow, sheet = (page.locator(what).bounding_box() for what in (".flow", ".panel"))
        assert flow and sheet and flow["height"] > sheet["height"] and sheet["y"] > flow["y"]
        assert flow["height"] > 844 * 0.4
        bar = page.get_by_role("separator")
        expect(bar).to_have_attribute("aria-orientation", "horizontal")
        bar.press("End")
        expect(bar).to_have_attribute("aria-valuenow", "80")
        higher = page.locator(".panel").bounding_box()
        assert higher and higher["height"] > 1.6 * sheet["height"]
        go(page, "#/features?a=0&b=rest")
        first = page.locator("li").first
        expect(first.locator("a.feature")).to_be_visible()
        line, figures = (first.locator(what).bounding_box() for what in ("a.feature", ".measures"))
        assert line and figures and line["width"] > 350 and figures["y"] >= line["y"] + line["height"] - 1
        named = first.locator(".named").first.bounding_box()
        assert named and named["height"] > 10 and named["width"] > 5


def test_a_list_has_its_labels_in_two_lines_where_one_is_not_enough(page: Page) -> None:
    go(page, "#/features?a=0&b=rest")
    rows = page.locator("a.feature")
    expect(rows.first).to_be_visible()
    page.set_viewport_size({"width": 900, "height": 700})
    shown = [row.evaluate(SHOWN) for row in rows.all()[:8]]
    assert {one["lines"] for one in shown} <= {1, 2} and not any(one["isCut"] for one in shown), shown


ROUTES = ("#/documents", "#/documents/0?at=4&colour=feature:300", "#/features?a=0&b=rest", "#/features/42", "#/health")


@pytest.mark.parametrize("size", ["laptop", "phone"])
def test_what_is_pressed_is_large_enough_for_a_finger(browser: Browser, served: Dashboard, size: str) -> None:
    with page_of(browser, served.address, size=size) as page:
        for route in ROUTES:
            go(page, route)
            settle(page)
            small: Any = page.evaluate(SMALL)
            assert not small, (route, small)


def test_at_twice_the_size_the_title_and_its_controls_are_there(browser: Browser, served: Dashboard) -> None:
    with page_of(browser, served.address) as page:
        page.set_viewport_size({"width": 640, "height": 400})  # as of a laptop at 200 %
        for route in ROUTES:
            go(page, route)
            settle(page)
            expect(page.locator("h1")).to_be_in_viewport()
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), route
        go(page, "#/documents/0?at=4")
        for name in ("L0", "Strongest"):
            expect(page.get_by_role("button", name=re.compile(name)).first).to_be_in_viewport()
