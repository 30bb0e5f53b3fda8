"""All views of the dashboard in a real browser: accessible, in both themes, and in words where there is nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import go, page_of, panel, settle
from dashboard_data import (
    WIDTH,
    write_features,
    write_labels,
)
from dashboard_server import Dashboard, settings_for
from playwright.sync_api import Browser, Page, expect

from dashboard.model.data import Data
from encoder.queue.queue import Queue

ROUTES = (
    "#/documents",
    "#/documents/0?at=4&colour=feature:300",
    "#/features?query=dogs",
    "#/features?a=0&b=rest",
    "#/features/42",
    "#/features/3",
    "#/compare?a=row:4&b=row:30",
    "#/words/dogs",
    "#/health",
)


def test_health_is_seen_and_follows_what_goes_on(page: Page, folder: Path) -> None:
    go(page, "#/health")
    main = page.locator("main")
    for text in (
        "6 shards",
        "Warning: explains just 12%",
        "2 files were read as one",
        "5 shards fine, 1 other warning",
        "1 fire nowhere here (dead)",
    ):
        expect(main).to_contain_text(text)
    expect(main).to_contain_text("509 of 512 features · 2 do not exist · 1 failed")
    expect(main).to_contain_text("0 done · 1 being worked on · 2 waiting · 1 failed")
    expect(main).to_contain_text("<b>NaN</b> in row 3")
    ticket = Queue(folder / "queue").claim()
    assert ticket is not None
    expect(main).to_contain_text("2 being worked on · 1 waiting")  # without a reload
    ticket.put_back()
    expect(main).to_contain_text("1 being worked on · 2 waiting")


FITS = "[document.documentElement, document.querySelector('main')].every((node) => node.scrollWidth <= innerWidth)"

CONTRAST = "color-contrast"

VIOLATIONS = "rules => axe.run(document, {resultTypes: ['violations'], ...rules}).then((found) => found.violations)"


@pytest.mark.parametrize(
    ("scheme", "size", "rules"),
    [
        ("light", "laptop", {}),
        ("dark", "laptop", {"runOnly": [CONTRAST]}),  # only the colours differ
        ("light", "phone", {"rules": {CONTRAST: {"enabled": False}}}),  # only the sizes differ
    ],
)
def test_every_view_is_accessible_and_nothing_sticks_out(
    browser: Browser, served: Dashboard, scheme: str, size: str, rules: dict[str, Any]
) -> None:
    with page_of(browser, served.address, scheme=scheme, size=size) as page:
        page.evaluate(Axe().axe_script)
        for route in ROUTES:
            go(page, route)
            settle(page)
            found = page.evaluate(VIOLATIONS, rules)
            serious = [one for one in found if one["impact"] in ("serious", "critical")]
            told = [
                f"{one['id']}: {node['html'][:200]} {node['failureSummary']}"
                for one in serious
                for node in one["nodes"]
            ]
            assert not told, f"{route}: {told[:3]}"
            assert page.evaluate(FITS), f"{route} is wider than the window"


def test_the_theme_is_chosen_and_kept(page: Page) -> None:
    background = "getComputedStyle(document.documentElement).backgroundColor"
    assert page.evaluate(background) == "rgb(255, 255, 255)"
    for name in ("light", "dark"):
        page.get_by_role("button", name=re.compile("^Theme")).click()
        expect(page.get_by_role("button", name=f"Theme: {name}")).to_be_visible()
    assert page.evaluate(background) != "rgb(255, 255, 255)"
    page.reload()
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()


def test_an_address_of_nothing_says_so(page: Page) -> None:
    for route in ("#/nowhere", "#/documents/1/2", "#/%E0%A4%A", "#/features/-1"):
        go(page, route)
        expect(page.get_by_role("alert").last).to_have_text("There is no such page here.")


def test_what_does_not_exist_is_said_in_words(browser: Browser, served: Dashboard) -> None:
    with page_of(browser, served.address, refused="404") as page:
        go(page, "#/documents/99")
        expect(page.get_by_role("alert").last).to_contain_text("document 99 does not exist: there are 8")
        go(page, f"#/features/{WIDTH}")
        expect(page.get_by_role("alert").last).to_contain_text(f"feature {WIDTH}")
        go(page, "#/compare?a=doc:0&b=doc:99")
        expect(page.get_by_role("alert").last).to_contain_text("document 99 does not exist")


def test_an_empty_place_says_which_commands_fill_it(browser: Browser, tmp_path: Path) -> None:
    with Dashboard(Data(settings_for(tmp_path))) as empty, page_of(browser, empty.address) as page:
        for route in ("#/documents", "#/features", "#/compare", "#/health"):
            go(page, route)
            expect(page.locator("main")).to_contain_text("saefetch download")
            expect(page.locator("main")).to_contain_text("sae-encode run")
        write_features(tmp_path / "features")
        go(page, "#/documents")
        expect(page.locator("a.document")).to_have_count(7)
        expect(page.locator("#banner")).to_contain_text("saefetch download")
        go(page, "#/documents/0?at=4")
        expect(panel(page).locator("li").first).to_contain_text("no label")


def test_labels_of_another_sae_are_refused_in_words(browser: Browser, tmp_path: Path) -> None:
    write_labels(
        tmp_path / "sae", sae_id="layer_20/width_16k/canonical", neuronpedia_id="gemma-2-2b/20-gemmascope-res-16k"
    )
    write_features(tmp_path / "features")
    with Dashboard(Data(settings_for(tmp_path))) as served, page_of(browser, served.address) as page:
        expect(page.locator("#banner")).to_contain_text("layer_20")
        go(page, "#/documents/0?at=4")
        expect(panel(page).locator("li").first).to_contain_text("no label")


def test_without_an_index_a_feature_says_how_to_make_one(browser: Browser, tmp_path: Path) -> None:
    write_labels(tmp_path / "sae")
    write_features(tmp_path / "features")
    with Dashboard(Data(settings_for(tmp_path))) as served, page_of(browser, served.address, refused="409") as page:
        go(page, "#/features/42")
        expect(page.locator("main .command").first).to_contain_text("sae-encode index FEATURES")
        expect(page.locator("main")).to_contain_text("this needs the index by feature")
        go(page, "#/features")
        expect(page.get_by_role("status")).to_have_text("512 features")
