"""The page Jobs in a real browser: find an SAE, get its labels, watch, cancel, try again; by keyboard, read out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import go, page_of, settle
from dashboard_data import write_features, write_labels
from dashboard_server import Dashboard, settings_for
from harness import settings_for as download_settings
from playwright.sync_api import Browser, Locator, Page, expect
from test_dashboard_browser_whole import CONTRAST, FITS, VIOLATIONS

from dashboard.model.data import Data
from saefetch.service.service import Service
from standin import Standin, World

RELEASE, WIDTH = "gemma-scope-2b-pt-res-canonical", 16_384
UNKNOWN = 7
"""A layer that the stand-in does not have."""


@pytest.fixture(scope="module")
def standin() -> Iterator[Standin]:
    world = World()
    for layer in range(10):
        if layer != UNKNOWN:
            world.add_source("gemma-2-2b", f"{layer}-gemmascope-res-16k", WIDTH)
    with Standin(world, lean=True) as standin:
        yield standin


@pytest.fixture(scope="module")
def jobs(standin: Standin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    """A dashboard whose labels come one request at a time, so that there is time to cancel."""
    folder = tmp_path_factory.mktemp("jobs")
    write_labels(folder / "sae")
    write_features(folder / "features")
    slow = download_settings(
        standin.api_url, standin.export_url, folder / "sae", source="feature", requests_per_second=20
    )
    with Dashboard(Data(settings_for(folder, jobs=True)), service=Service(slow)) as dashboard:
        yield dashboard


@pytest.fixture
def page(browser: Browser, jobs: Dashboard) -> Iterator[Page]:
    with page_of(browser, f"{jobs.address}#/jobs", refused="409") as page:
        yield page


def sae(layer: int) -> str:
    return f"{RELEASE} layer_{layer}/width_16k/canonical"


def card(page: Page, layer: int) -> Locator:
    return page.get_by_role("article", name=sae(layer), exact=True)


def ask(page: Page, layer: int) -> None:
    page.get_by_role("searchbox").fill(f"{RELEASE} layer_{layer}/width_16k/canonical")
    page.get_by_role("button", name=f"Get labels: {sae(layer)}").click()


def test_an_sae_is_found_asked_for_cancelled_and_tried_again_by_keyboard(page: Page) -> None:
    page.keyboard.press("g")
    page.keyboard.press("d")
    expect(page.locator("h1")).to_have_text("Documents")
    page.keyboard.press("g")
    page.keyboard.press("j")
    expect(page.locator("h1")).to_have_text("Jobs")
    page.keyboard.press("/")
    page.keyboard.type("gemma-scope-2b-pt-res-canonical layer_4 16k")
    expect(page).to_have_url(re.compile("query=gemma-scope-2b-pt-res-canonical%20layer_4%2016k$"))
    get = page.get_by_role("button", name=f"Get labels: {sae(4)}")
    expect(get).to_have_count(1)
    for _ in range(2):
        page.keyboard.press("Tab")
    expect(get).to_be_focused()
    page.keyboard.press("Enter")
    mine = card(page, 4)
    expect(mine.locator(".tag")).to_have_text("running")
    expect(mine).to_contain_text(re.compile(r"[1-9][0-9,]* of 16,384 features · job \d"))  # by events, no reload
    expect(page.locator("#said")).to_have_text(f"{sae(4)}: running")
    cancel = mine.get_by_role("button", name=f"Cancel: {sae(4)}")
    cancel.focus()
    page.keyboard.press("Enter")
    again = mine.get_by_role("button", name=f"Try again: {sae(4)}")
    expect(again).to_be_focused()
    expect(page.locator("#said")).to_have_text(f"{sae(4)}: cancelled")
    page.keyboard.press("Enter")
    expect(cancel).to_be_focused()
    page.keyboard.press("Enter")
    expect(mine.locator(".tag")).to_have_text("cancelled")


def test_what_another_asked_for_is_seen_and_a_failure_is_in_the_servers_words(page: Page, jobs: Dashboard) -> None:
    body = f'{{"sae_release": "{RELEASE}", "sae_id": "layer_{UNKNOWN}/width_16k/canonical"}}'.encode()
    assert jobs.ask("/v1/jobs", "POST", body, Content_Type="application/json").status == 202
    mine = card(page, UNKNOWN)
    expect(mine.locator(".tag")).to_have_text("failed")
    expect(mine.locator(".warning")).to_contain_text(f"gemma-2-2b/{UNKNOWN}-gemmascope-res-16k")
    expect(mine.get_by_role("button")).to_have_text("Try again")


def test_a_refusal_is_said_until_something_else_is_asked(page: Page, jobs: Dashboard) -> None:
    ask(page, 5)
    expect(card(page, 5).locator(".tag")).to_have_text("running")
    get = page.get_by_role("button", name=f"Get labels: {sae(5)}")
    page.route(
        "**/v1/jobs",
        lambda route: route.continue_(post_data='{"sae_id": "layer_5/width_16k/canonical", "refresh": true}'),
    )
    get.click()
    expect(page.get_by_role("alert").last).to_contain_text("other options")
    card(page, 5).get_by_role("button").click()
    expect(page.locator(".jobs-view [role=alert]")).to_have_text("")
    expect(card(page, 5).locator(".tag")).to_have_text("cancelled")


def test_the_latest_job_is_on_top_after_a_reload_too(page: Page) -> None:
    for layer in (8, 9):
        ask(page, layer)
        card(page, layer).get_by_role("button", name="Cancel").click()
    for _ in range(2):
        expect(card(page, 9).locator(".tag")).to_have_text("cancelled")
        names = page.get_by_role("article").evaluate_all("all => all.map((one) => one.getAttribute('aria-label'))")
        assert names[:2] == [sae(9), sae(8)]
        page.reload()


@pytest.mark.parametrize(
    ("scheme", "size", "rules"),
    [
        ("light", "laptop", {}),
        ("dark", "laptop", {"runOnly": [CONTRAST]}),
        ("light", "phone", {"rules": {CONTRAST: {"enabled": False}}}),
    ],
)
def test_the_page_is_accessible_and_nothing_sticks_out(
    browser: Browser, jobs: Dashboard, scheme: str, size: str, rules: dict[str, Any]
) -> None:
    with page_of(browser, f"{jobs.address}#/jobs?query=layer_16", scheme=scheme, size=size) as page:
        page.evaluate(Axe().axe_script)
        expect(page.get_by_role("listitem")).not_to_have_count(0)
        settle(page)
        found = page.evaluate(VIOLATIONS, rules)
        told = [
            f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found if one["impact"] in ("serious", "critical")
        ]
        assert not told
        assert page.evaluate(FITS)


def test_without_the_flag_there_is_no_such_page(browser: Browser, tmp_path: Path) -> None:
    with Dashboard(Data(settings_for(tmp_path))) as served, page_of(browser, served.address) as page:
        expect(page.get_by_role("link", name="Health")).to_be_visible()
        expect(page.get_by_role("link", name="Jobs")).to_have_count(0)
        page.keyboard.press("g")
        page.keyboard.press("j")
        expect(page).not_to_have_url(re.compile("jobs"))
        go(page, "#/jobs")
        expect(page.locator("main")).to_contain_text("sae-dashboard --jobs")
