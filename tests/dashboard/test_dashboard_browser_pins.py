"""Pins in a real browser: up to five features, each in its own colour, over the whole document."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import go, page_of, panel, settle, strongest
from dashboard_server import Dashboard
from playwright.sync_api import Browser, Page, expect

FIRST, N = 51, 80  # rows of document 3
MASKED = (59, 99)
COLOUR = "node => getComputedStyle(node).getPropertyValue('--heat').trim()"


def columns(matrix: Any, *features: int) -> np.ndarray:
    found: np.ndarray = matrix[FIRST : FIRST + N, list(features)].toarray()
    found[[row - FIRST for row in MASKED]] = 0
    return found


def test_features_are_pinned_in_colours_of_their_own_and_kept_in_the_address(page: Page, matrix: Any) -> None:
    go(page, "#/documents/3?at=1")
    expect(panel(page).locator("li").first).to_be_visible()
    first, second = (index for index, _ in strongest(matrix, FIRST + 1)[:2])
    page.get_by_role("button", name=f"Colour by feature {first}", exact=True).click()
    page.keyboard.press("2")
    expect(page).to_have_url(re.compile(f"at=1&colour=feature:{first},{second}$"))
    chips = page.get_by_role("list", name="Pins").locator("li")
    expect(chips).to_have_count(2)
    assert [chip.evaluate(COLOUR) for chip in chips.all()] == ["#e69f00", "#56b4e9"]
    swatches = panel(page).locator(".swatch[aria-pressed=true]")
    assert [one.evaluate(COLOUR) for one in swatches.all()] == ["#e69f00", "#56b4e9"]

    values = columns(matrix, first, second)
    shares = values / values.max(axis=0)
    for at in range(N):
        token = page.locator(f"#t{at}")
        if values[at].any():
            expect(token).to_have_attribute("data-pin", str(shares[at].argmax()))
            both = values[at].all()
            assert ("var(--pin-" in (token.get_attribute("style") or "")) == bool(both), at
    expect(page.locator(".flow [data-heat]")).to_have_count(int(values.any(axis=1).sum()))
    expect(page.locator(".token-head").first).to_contain_text("2 of 2 pins fire here")
    page.reload()
    expect(chips).to_have_count(2)
    chips.first.get_by_role("button", name="Unpin").click()
    expect(page).to_have_url(re.compile(f"colour=feature:{second}$"))
    page.keyboard.press("0")
    expect(chips).to_have_count(0)
    page.get_by_role("button", name="Pins", exact=True).click()
    expect(chips).to_have_count(1)


def test_a_sixth_pin_is_refused_in_words(page: Page) -> None:
    go(page, "#/documents/3?at=1&colour=feature:3,4,5,6,8")
    expect(page.locator(".pin")).to_have_count(5)
    panel(page).locator(".swatch[aria-pressed=false]").first.click()
    expect(page.get_by_role("status")).to_contain_text("5 pins are all")
    expect(page.locator(".pin")).to_have_count(5)
    go(page, "#/documents/0")
    page.evaluate("location.hash = '#/documents/0?colour=feature:1,2,3,4,5,6'")
    expect(page.get_by_role("button", name="L0")).to_have_attribute("aria-pressed", "true")


def test_lanes_show_the_whole_document_and_lead_to_a_token(page: Page, served: Dashboard, matrix: Any) -> None:
    go(page, "#/documents/3?colour=feature:300,42")
    lanes = page.locator(".lanes svg")
    expect(lanes).to_have_count(2)
    values = columns(matrix, 300, 42)
    told = served.api("documents/3/lanes", features="300,42", bins=80)["lanes"]
    for k in range(2):
        assert np.array_equal(np.float32(told[k]["values"]), values[:, k]) and told[k]["max"] == max(told[k]["values"])
        expect(lanes.nth(k).locator("rect")).to_have_count(int((values[:, k] > 0).sum()))
    box = lanes.nth(1).bounding_box()
    assert box
    wanted = int(np.flatnonzero(values[:, 1])[-1])
    page.mouse.click(box["x"] + box["width"] * (wanted + 0.5) / N, box["y"] + box["height"] / 2)
    expect(page.locator(f"#t{wanted}.held")).to_be_in_viewport()
    before = int(np.flatnonzero(values[:wanted, 0])[-1])
    page.locator(".pin").first.get_by_role("button", name="Previous").click()
    expect(page.locator(f"#t{before}.held")).to_be_attached()
    page.keyboard.press("n")
    either = int(np.flatnonzero(values[before + 1 :].any(axis=1))[0]) + before + 1
    expect(page.locator(f"#t{either}.held")).to_be_attached()


@pytest.mark.parametrize(("scheme", "size"), [("light", "laptop"), ("dark", "laptop"), ("light", "phone")])
def test_five_pins_are_accessible(browser: Browser, served: Dashboard, scheme: str, size: str) -> None:
    with page_of(
        browser, f"{served.address}#/documents/0?at=1&colour=feature:3,4,5,6,8", scheme=scheme, size=size
    ) as page:
        page.evaluate(Axe().axe_script)
        expect(page.locator(".pin .label").last).to_be_attached()
        settle(page)
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then((found) => found.violations)")
        assert not [
            (one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in ("serious", "critical")
        ]


def test_lanes_are_the_same_without_an_index_and_refuse_what_they_cannot_read(served: Dashboard) -> None:
    for features in ("", "x", "1,2,3,4,5,6", "1,"):
        status, error = served.refused("documents/3/lanes", features=features)
        assert status == 400 and "numbers of features" in error
    assert served.refused("documents/3/lanes", features="9999")[0] == 404
