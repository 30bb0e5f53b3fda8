"""A document is set as text: its direction by paragraph, no break between pieces, heat on words and not on gaps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from browser import go, page_of
from dashboard_data import made_up, write_shard
from dashboard_server import Dashboard, settings_for
from playwright.sync_api import Browser, Page, expect

from dashboard.model.data import Data
from dashboard.model.tokens import whole_characters
from encoder.index.build import build_index
from encoder.shard import Tokens

HEBREW = ["שלום", " לכולם", ",", " מה", " שלומכם", "\n", "All", " is", " well", "\n"]
ARABIC = ["مر", "حبا", " بكم"]
DOG = ["<0xF0>", "<0x9F>", "<0x90>", "<0x95>"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    folder = tmp_path_factory.mktemp("text")
    for name, texts in (
        ("directions", [*HEBREW, *ARABIC]),
        ("no-spaces", ["字"] * 1500),
        ("bytes", [" a", *DOG, " dog", "<0xE2>", "<0x82>", "!"]),
        ("words", [" words"] * 700),
    ):
        write_shard(folder / "features" / f"{name}.npz", made_up(len(texts), 3), Tokens(texts=texts))
    build_index(folder / "features")
    with Dashboard(Data(settings_for(folder))) as dashboard:
        yield dashboard


@pytest.fixture
def page(browser: Browser, served: Dashboard) -> Iterator[Page]:
    with page_of(browser, served.address) as page:
        yield page


def box(page: Page, at: int) -> Any:
    return page.locator(f"#t{at}").evaluate("node => node.getBoundingClientRect().toJSON()")


def test_each_paragraph_has_the_direction_of_its_text(page: Page) -> None:
    go(page, "#/documents/directions")
    expect(page.locator("#t12")).to_be_visible()
    boxes = [box(page, at) for at in range(len(HEBREW) + len(ARABIC))]
    right = page.locator(".flow").evaluate("node => node.getBoundingClientRect().right")
    for first, last in ((0, 4), (10, 12)):
        lefts = [one["left"] for one in boxes[first : last + 1]]
        assert lefts == sorted(lefts, reverse=True), "it is read from the right"
        assert right - boxes[first]["right"] < 60, "and begins at the right"
    lefts = [one["left"] for one in boxes[6:9]]
    assert lefts == sorted(lefts) and lefts[0] < right / 4
    go(page, "#/features/42")
    expect(page.locator(".context").first).to_have_css("unicode-bidi", "plaintext")


def test_a_text_runs_on_from_piece_to_piece_and_breaks_anywhere_where_it_has_no_spaces(page: Page) -> None:
    go(page, "#/documents/no-spaces")
    edge = page.locator("#t0").evaluate("node => node.getBoundingClientRect().left")
    for seam in (512, 1024):
        page.locator(f"#t{seam - 100}").scroll_into_view_if_needed()
        expect(page.locator(f"#t{seam}")).to_be_attached()
        before, after = box(page, seam - 1), box(page, seam)
        assert before["top"] == after["top"] or after["left"] == pytest.approx(edge), seam
        assert before["right"] == pytest.approx(after["left"], abs=1) or before["top"] < after["top"]
    assert page.locator(".flow").evaluate("node => node.scrollWidth <= node.clientWidth")


def test_heat_is_on_words_and_not_on_the_gap_at_the_end_of_a_line(page: Page) -> None:
    go(page, "#/documents/words")
    expect(page.locator("#t300")).to_be_attached()
    rects = page.locator(".token").evaluate_all(
        "nodes => nodes.map((node) => [...node.getClientRects()].filter(({width}) => width > 0).length)"
    )
    assert set(rects) == {1}
    widths = {round(box(page, at)["width"]) for at in range(60)}
    assert len(widths) == 1, "at the beginning, in the middle and at the end of a line"
    assert page.locator(".piece").first.inner_text().startswith(" words words words")


def test_the_number_beside_a_line_fits_on_one_line(page: Page) -> None:
    go(page, "#/documents/words")
    expect(page.locator("#t0")).to_be_visible()
    fits = page.locator(".piece").first.evaluate(
        """node => {
          const style = getComputedStyle(node, "::before");
          const context = document.createElement("canvas").getContext("2d");
          context.font = style.font;
          const text = "1,048,576";
          const width = context.measureText(text).width + text.length * parseFloat(style.letterSpacing);
          return [width, parseFloat(style.width)];
        }"""
    )
    assert fits[0] <= fits[1]


def test_bytes_of_one_character_are_shown_as_it(page: Page, served: Dashboard) -> None:
    go(page, "#/documents/bytes")
    expect(page.locator("#t1")).to_have_text("🐕")
    expect(page.locator("#t2")).to_have_text("·")
    expect(page.locator("#t6")).to_have_text("<0xE2>")
    whole = served.api("documents/bytes/tokens")["tokens"]
    for start in range(9):
        assert served.api("documents/bytes/tokens", start=start, stop=start + 1)["tokens"] == [whole[start]]
        assert served.api("documents/bytes/row", at=start)["token"] == whole[start]


@pytest.mark.parametrize(
    ("texts", "shown"),
    [
        ([" a", *DOG, "b"], [" a", "🐕", "", "", "", "b"]),
        (DOG[1:], DOG[1:]),
        ([*DOG[:3], "x", DOG[3]], [*DOG[:3], "x", DOG[3]]),
        (["x<0xC3>", "<0xA9><0xC3>", "<0xA8>y"], ["xé", "è", "y"]),
        (["<0x0A>", "write <0x41>", "<0xFF>"], ["\n", "write <0x41>", "<0xFF>"]),
        ([*DOG, *DOG], ["🐕", "", "", "", "🐕", "", "", ""]),
        (["plain", ""], ["plain", ""]),
    ],
)
def test_bytes_are_put_together_where_they_are_one_character(texts: list[str], shown: list[str]) -> None:
    assert whole_characters(texts) == shown


def test_every_character_cut_into_bytes_is_found_again() -> None:
    random = np.random.default_rng(0)
    text = "aé€🐕\nشz" * 4
    raw = text.encode()
    texts = [f"<0x{byte:02X}>" for byte in raw]
    assert "".join(whole_characters(texts)) == text
    for _ in range(50):
        start, stop = sorted(random.integers(0, len(raw), 2).tolist())
        found = "".join(whole_characters(texts[start:stop]))
        assert raw[start:stop].decode("utf-8", "ignore") in found or "<0x" in found
