"""Words in a real browser: from a document's token or the box over Documents to every occurrence, and back."""

from __future__ import annotations

import re

from browser import go
from playwright.sync_api import Page, expect


def test_a_word_shows_all_its_occurrences_aligned_and_what_fires_on_it(page: Page) -> None:
    go(page, "#/documents/0?at=4")
    page.get_by_role("link", name="dogs", exact=True).click()
    expect(page.locator("h1")).to_have_text("“dogs”")
    expect(page.get_by_role("status")).to_have_text(re.compile(r"^[\d,]+ occurrences$"))
    rows = page.locator("a.occurrence")
    expect(rows.first).to_contain_text("Tell me about dogs.")
    lefts = {round((word.bounding_box() or {"x": 0})["x"]) for word in page.locator(".word").all()[:8]}
    assert len(lefts) == 1, "they are below each other"
    rows.first.click()
    expect(page.locator("#t4.held")).to_be_attached()
    go(page, "#/words/bark")
    features = page.get_by_role("list", name="Features that fire on the word").locator("li")
    expect(features.first).to_contain_text(re.compile(r"1 of 1"))
    lifts = [float(text.split()[-2]) for text in features.locator(".lift").all_inner_texts()[:6]]
    assert lifts == sorted(lifts, reverse=True) and len(lifts) > 3


def test_words_are_found_from_the_box_over_the_documents(page: Page) -> None:
    go(page, "#/documents")
    page.keyboard.press("/")
    page.keyboard.type("bark dogs")
    expect(page.locator("a.document")).to_have_count(1)
    expect(page.get_by_role("link", name="Every")).to_have_count(0)
    page.get_by_label("Find documents by words").fill("cryptography")
    page.get_by_role("link", name="Every “cryptography” →").click()
    expect(page.locator("h1")).to_have_text("“cryptography”")
    page.get_by_role("searchbox", name="Word").fill("xyzzy")
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_contain_text("It stands nowhere")
