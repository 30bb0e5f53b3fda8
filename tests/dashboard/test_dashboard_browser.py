"""The dashboard's documents in a real browser: what a person sees, points at, clicks and shares."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from browser import go, panel, strongest
from dashboard_data import (
    LONG,
    LONG_ID,
    PROMPT,
    published,
)
from playwright.sync_api import Page, expect


def test_documents_are_listed_and_found_by_their_beginning(page: Page) -> None:
    rows = page.locator("a.document")
    expect(rows).to_have_count(8)
    expect(rows.first).to_contain_text("<bos>Tell me about dogs.↵ Dogs sleep,")
    expect(rows.first).to_contain_text("response")
    page.keyboard.press("/")
    page.keyboard.type("Tell me")
    expect(rows).to_have_count(1)
    expect(page).to_have_url(re.compile(r"#/documents\?query=Tell%20me$"))
    page.reload()
    expect(rows).to_have_count(1)
    rows.first.click()
    expect(page.locator("h1")).to_have_text("Document 0")
    assert page.title() == "capture · document 0 – saefetch"


def test_a_token_shows_all_its_features_the_strongest_first(page: Page, matrix: Any) -> None:
    go(page, "#/documents/0")
    page.locator("#t4").hover()
    expect(page.locator("h2 .token")).to_have_text(" dogs")
    expected = strongest(matrix, 4)
    rows = panel(page).locator("li")
    expect(rows.first).to_contain_text(f"{expected[0][0]}")
    index, value = expected[0]
    text = published(index) or "no label"
    expect(rows.first.locator("a")).to_have_text(re.compile(rf"^{index}\s+{re.escape(text)}$"))
    expect(rows.first).to_contain_text(f"{value:.1f}")

    page.locator("#t1").click()  # every feature but one fires here
    expect(page.get_by_role("tabpanel", name="Token")).to_contain_text("511 features fire")
    rows.first.locator("a").focus()
    page.keyboard.press("End")
    expect(rows.last.locator("a")).to_be_focused()
    last = strongest(matrix, 1)[-1][0]
    expect(rows.last.locator(".index")).to_have_text(str(last))
    assert rows.last.get_attribute("aria-posinset") == "511"
    assert rows.count() < 80, "only what is seen exists"
    page.keyboard.press("ArrowUp")
    expect(rows.locator("a:focus")).to_have_count(1)


def test_a_held_token_is_in_the_address_and_comes_back(page: Page) -> None:
    go(page, "#/documents/0")
    page.locator("#t5").click()
    page.locator("#t2").hover()  # a held token stays
    expect(page.locator("#t5")).to_have_class(re.compile("held"))
    expect(page).to_have_url(re.compile(r"#/documents/0\?at=5$"))
    page.get_by_role("button", name="Colour by feature").first.click()
    expect(page).to_have_url(re.compile(r"at=5&colour=feature:\d+$"))
    address = page.url
    page.reload()
    expect(page.locator("#t5")).to_have_class(re.compile("held"))
    expect(page.locator("h2 .token")).to_have_text(".")
    expect(page.locator("#t5")).to_have_attribute("data-heat", re.compile(r"\d"))
    assert page.url == address
    page.locator("#t5").click()
    expect(page.locator(".held")).to_have_count(0)
    expect(page).not_to_have_url(re.compile("at="))


def test_keys_move_among_tokens_and_choose_colours(page: Page, matrix: Any) -> None:
    go(page, "#/documents/3")
    flow = page.get_by_role("listbox")
    expect(page.locator("#t79")).to_be_attached()
    flow.focus()
    at = 0
    for key, expected in (
        ("ArrowRight", 0),
        ("ArrowRight", 1),
        ("ArrowLeft", 0),
        ("End", 79),
        ("ArrowRight", 79),
        ("Home", 0),
    ):
        page.keyboard.press(key)
        at = expected
        expect(page.locator(f"#t{at}.held")).to_be_attached()
    assert flow.get_attribute("aria-activedescendant") == "t0"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    below = int((flow.get_attribute("aria-activedescendant") or "").removeprefix("t"))
    boxes = [page.locator(f"#t{number}").bounding_box() for number in (1, below)]
    assert boxes[0] and boxes[1] and 10 < boxes[1]["y"] - boxes[0]["y"] < 50 and abs(boxes[1]["x"] - boxes[0]["x"]) < 80
    page.keyboard.press("ArrowUp")
    expect(page.locator("#t1.held")).to_be_attached()
    expect(page.locator("#said")).to_contain_text("token 1:")

    first = strongest(matrix, 51 + 1)[0][0]
    expect(panel(page).locator(".index").first).to_have_text(str(first))
    page.keyboard.press("1")
    expect(page).to_have_url(re.compile(f"colour=feature:{first}$"))
    column = matrix[51:131, first].toarray()[:, 0]
    expect(page.locator("[data-heat]")).to_have_count(
        int((column > 0).sum()) + page.locator(".legend [data-heat]").count()
    )
    following = int(np.flatnonzero(column[2:])[0]) + 2
    page.keyboard.press("n")
    expect(page.locator(f"#t{following}.held")).to_be_attached()
    page.keyboard.press("p")
    expect(page.locator("#t1.held")).to_be_attached()
    page.keyboard.press("0")
    expect(page).to_have_url(re.compile("at=1$"))
    page.keyboard.press("Escape")
    expect(page.locator(".held")).to_have_count(0)
    for key, title in (("h", "Data health"), ("c", "Compare"), ("f", "Features"), ("d", "Documents")):
        page.keyboard.press("g")
        page.keyboard.press(key)
        expect(page.locator("h1")).to_have_text(title)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()


def test_choosing_a_feature_keeps_the_place_and_the_focus(page: Page) -> None:
    go(page, "#/documents/0?at=1")
    rows = panel(page).locator("li")
    expect(rows.first).to_be_visible()
    page.locator(".virtual:visible").evaluate("node => node.scrollTo(0, 3000)")
    expect(rows.locator(".index").first).not_to_have_text("511")
    button = rows.nth(12).get_by_role("button")
    name = button.get_attribute("aria-label") or ""
    button.press("Enter")
    button = page.get_by_role("button", name=name, exact=True)
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(button).to_be_focused()
    assert page.locator(".virtual:visible").evaluate("node => node.scrollTop") == 3000
    page.get_by_role("button", name="Strongest").press("Enter")
    expect(page.get_by_role("button", name="Strongest")).to_be_focused()


def test_a_colour_chosen_while_tokens_are_on_their_way_is_the_one_that_is_seen(page: Page, matrix: Any) -> None:
    page.evaluate(SLOW_L0)
    go(page, "#/documents/3")
    page.get_by_role("button", name="Strongest").click()
    expect(page.locator(".flow [data-heat]").first).to_be_visible()
    expect(page.locator(".most")).to_have_text(re.compile(r"≥ \d\d"))
    assert page.locator(".flow [data-heat]").count() > 60


SLOW_L0 = """() => {
  const get = sae.source.get;
  sae.source.get = async (path, params, ...rest) => {
    if (params?.colour === "l0" && params.stop) await new Promise((resolve) => setTimeout(resolve, 400));
    return get(path, params, ...rest);
  };
}"""


def test_an_address_with_nonsense_shows_the_document_all_the_same(page: Page) -> None:
    go(page, "#/documents/0?at=abc&colour=feature:x")
    expect(page.locator(".token-head h2").first).to_be_visible()
    expect(page.get_by_role("button", name="L0")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("listbox").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#t0.held")).to_be_attached()
    page.evaluate("location.hash = '#/documents/0?at=9999999'")
    expect(page.locator("#t19.held")).to_be_attached()
    page.evaluate("location.hash = '#/documents/0'")
    expect(page.locator(".held")).to_have_count(0)


def test_a_small_window_has_room_for_text_and_features(page: Page) -> None:
    for document, (width, height) in enumerate([(640, 400), (360, 640)]):
        page.set_viewport_size({"width": width, "height": height})
        go(page, f"#/documents/{document}?at=4")
        rows = panel(page).locator("li")
        expect(rows.first).to_be_attached()
        heights = [page.locator(what).evaluate("node => node.clientHeight") for what in (".flow", ".virtual:visible")]
        assert heights[0] > 100 and heights[1] > 100
        rows.nth(1).scroll_into_view_if_needed()
        expect(rows.nth(1)).to_be_in_viewport()


def test_what_cannot_be_seen_gets_a_sign(page: Page) -> None:
    go(page, "#/documents/0")
    for at, text in ((0, "<bos>"), (1, "Tell"), (6, "↵"), (10, "⇥"), (15, "↵\n↵"), (18, "\\u202edeb")):
        expect(page.locator(f"#t{at}")).to_be_attached()
        assert page.locator(f"#t{at}").evaluate("node => node.textContent") == text
    expect(page.locator("#t0")).to_have_class("token special")
    expect(page.locator(".prompt .token")).to_have_count(len(PROMPT))
    go(page, "#/documents/1")
    expect(page.locator(".masked")).to_have_count(0)
    go(page, "#/documents/3")
    expect(page.locator(".masked")).to_have_count(2)


def test_ten_thousand_tokens_scroll_smoothly(page: Page) -> None:
    go(page, f"#/documents/{LONG_ID}")
    flow = page.get_by_role("listbox")
    expect(page.locator("#t0")).to_be_visible()
    assert page.locator(".token").count() < 3000, "what is far does not exist"
    page.evaluate(WATCH_FRAMES)
    for _ in range(40):
        flow.evaluate("node => node.scrollBy(0, 700)")
        page.wait_for_timeout(16)
    for share in (0.5, 1, 0):
        flow.evaluate(f"node => node.scrollTo(0, {share} * node.scrollHeight)")
        page.wait_for_timeout(50)
    flow.focus()
    page.keyboard.press("End")
    expect(page.locator(f"#t{LONG - 1}")).to_be_in_viewport()
    page.keyboard.press("ArrowUp")
    expect(page.locator(".held")).to_be_in_viewport()
    longest = page.evaluate("window.longest")
    assert longest < 300, f"a frame took {longest} ms"
    page.evaluate("location.hash = '#/documents/6?at=5000'")
    expect(page.locator("#t5000.held")).to_be_in_viewport()
    expect(page.locator("h2 .token")).to_be_visible()


WATCH_FRAMES = """() => {
  window.longest = 0;
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) window.longest = Math.max(window.longest, duration);
  }).observe({ type: "longtask" });
}"""
