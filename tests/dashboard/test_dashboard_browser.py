"""The dashboard's pages in a real browser: what a person sees, types, clicks and shares."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from axe_playwright_python.sync_playwright import Axe
from browser import chromium, go, page_of, settle
from dashboard_data import (
    EXCLUDED_ROWS,
    HOSTILE,
    PROMPT,
    WIDTH,
    label,
    published,
    write_features,
    write_labels,
    write_queue,
)
from dashboard_server import Dashboard, settings_for
from playwright.sync_api import Browser, Locator, Page, expect

from dashboard.export import export
from dashboard.model.data import Data
from dashboard.page import WebFiles
from encoder.index.build import build_index
from encoder.queue.queue import Queue

LONG = 10_000
LONG_ID = 6
ROUTES = (
    "#/documents",
    "#/documents/0?at=4&colour=feature:300",
    "#/features?query=dogs",
    "#/features?a=0&b=rest",
    "#/features/42",
    "#/features/3",
    "#/compare?a=row:4&b=row:30",
    "#/health",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pages")
    write_labels(path / "sae")
    write_features(path / "features", long=LONG)
    build_index(path / "features")
    write_queue(path / "queue")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Dashboard]:
    with Dashboard(Data(settings_for(folder, queue=folder / "queue"))) as dashboard:
        yield dashboard


@pytest.fixture
def page(browser: Browser, served: Dashboard) -> Iterator[Page]:
    with page_of(browser, served.address) as page:
        yield page


@pytest.fixture(scope="module")
def matrix(folder: Path) -> Any:
    names = ("capture", "corpus__part-0", "empty", "ids", "long", "nothing")
    return scipy.sparse.vstack([scipy.sparse.load_npz(folder / "features" / f"{name}.npz") for name in names]).tocsr()


def panel(page: Page) -> Locator:
    return page.get_by_role("list", name="Features that fire on this token")


def strongest(matrix: Any, row: int) -> list[tuple[int, float]]:
    one = matrix[row]
    order = np.argsort(-one.data, kind="stable")
    return [(int(one.indices[at]), float(one.data[at])) for at in order]


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
    assert page.title() == "Document 0 – saefetch"


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


def test_back_leads_to_where_one_was(page: Page) -> None:
    go(page, "#/features?sort=index")
    rows = page.locator("main li")
    expect(rows.first).to_be_visible()
    page.locator(".virtual").evaluate("node => node.scrollTo(0, 9000)")
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
    for at, text in ((0, "<bos>"), (1, "Tell"), (6, "↵\n"), (10, "⇥"), (15, "↵\n↵\n"), (18, " \\u202edeb")):
        expect(page.locator(f"#t{at}")).to_be_attached()
        assert page.locator(f"#t{at}").evaluate("node => node.textContent") == text
    expect(page.locator("#t0")).to_have_class("token special")
    expect(page.locator(".piece.prompt .token")).to_have_count(len(PROMPT))
    go(page, "#/documents/1")
    expect(page.locator(".masked")).to_have_count(0)
    go(page, "#/documents/3")
    expect(page.locator(".masked")).to_have_count(2)


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
        expect(page.get_by_role("alert").last).to_contain_text("there are 8 documents")


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
    expect(page).to_have_url(re.compile("a=row:3&b=row:4$"))
    page.get_by_label("Number of A").fill("3:7")  # the eighth token of document 3
    expect(page.locator("a.side.a")).to_contain_text("document 3, token 7")
    expect(page).to_have_url(re.compile("a=row:58&b=row:4$"))
    page.get_by_label("Number of A").fill("3")
    page.get_by_label("Number of B").fill("4")
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


def test_health_is_seen_and_follows_what_goes_on(page: Page, folder: Path) -> None:
    go(page, "#/health")
    main = page.locator("main")
    for text in (
        "6 shards",
        "Warning: explains just 12%",
        "2 files were read as one",
        "1 of 512 features fire nowhere",
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


FITS = "[document.documentElement, document.querySelector('main')].every((node) => node.scrollWidth <= innerWidth)"
WATCH_FRAMES = """() => {
  window.longest = 0;
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) window.longest = Math.max(window.longest, duration);
  }).observe({ type: "longtask" });
}"""


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
    for route in ("#/nowhere", "#/documents/x", "#/documents/1/2", "#/%E0%A4%A", "#/features/-1"):
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
        expect(page.locator("main .command").first).to_contain_text(f"sae-encode index {tmp_path}/features")
        expect(page.locator("main")).to_contain_text("this needs the index by feature")


@pytest.fixture(scope="module")
def part(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of an export of the first five documents."""
    out = tmp_path_factory.mktemp("part") / "page"
    with Data(settings_for(folder)).look() as look:
        export(look, out, "0-4", WebFiles())
    return (out / "index.html").as_uri()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    """A server that has the first five documents and nothing else."""
    path = tmp_path_factory.mktemp("alone")
    write_labels(path / "sae")
    write_features(path / "features")
    for name in ("empty", "ids", "nothing"):
        (path / "features" / f"{name}.npz").unlink()
    build_index(path / "features")
    with Dashboard(Data(settings_for(path))) as dashboard:
        yield dashboard


TOKENS = [{"start": 3, "stop": 9, "colour": colour} for colour in ("l0", "top", "feature:300", "feature:7")]
SORTED = [
    {"sort": sort, "order": order} for sort in ("density", "max", "count", "index") for order in ("asc", "desc", "")
]
WHERE = [
    {"document": 2},
    {"document": 2, "order": "asc"},
    {"document": 0, "sort": "max", "offset": 5, "limit": 9},
    {"a": "0", "b": "1-4"},
    {"a": "0", "b": "1-4", "sort": "log_ratio", "order": "asc"},
    {"a": "0", "b": "1-4", "document": 0, "sort": "z"},
]
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("documents", {"offset": 1, "limit": 2}),
    ("documents", {"query": "TELL me"}),
    *((f"documents/{number}/tokens", parameters) for number in (0, 3) for parameters in [*TOKENS, {}]),
    *((f"rows/{row}", {}) for row in (0, 1, 4, 20, 58, 90, 170)),
    *((f"features/{index}", {}) for index in (0, 42, 300)),
    *(
        (f"features/{index}/top", {"distinct": distinct, "limit": 4, "offset": 2})
        for index in (1, 42)
        for distinct in (1, "")
    ),
    *(("search", parameters) for parameters in [*SORTED, *WHERE]),
]
ASK_ALL = """async (requests) => {
  const answers = [];
  for (const [path, params] of requests) answers.push(await sae.source.get(path, params));
  return answers;
}"""


def test_the_page_without_a_server_gives_the_same_answers(browser: Browser, alone: Dashboard, part: str) -> None:
    answers = []
    for address in (alone.address, part):
        with page_of(browser, address) as page:
            page.wait_for_selector("main h1")
            answers.append(page.evaluate(ASK_ALL, REQUESTS))
    for request, served, static in zip(REQUESTS, *answers, strict=True):
        if request[0] == "search":  # an export has the features that fire in it
            served["features"] = [one for one in served["features"] if one["count"]]
            static["features"] = static["features"][: len(served["features"])]
            served["total"] = static["total"] if served["total"] == WIDTH else served["total"]
        if "scale" in served:  # of a feature it is one of the values, which are float32
            assert served.pop("scale") == pytest.approx(static.pop("scale"))
        for name in ("share", "share_here"):
            if "active" in served:
                assert served["active"].pop(name) == pytest.approx(static["active"].pop(name))
        if "here" in served:
            assert served["here"].pop("mean") == pytest.approx(static["here"].pop("mean"))
        assert static == served, request


def test_the_page_without_a_server_shows_the_same(browser: Browser, alone: Dashboard, part: str) -> None:
    pages: dict[str, list[str]] = {"served": [], "static": []}
    routes = (
        "#/documents/0?at=4&colour=feature:300",
        "#/documents/3?colour=top",
        "#/features/42?distinct=0",
        "#/features?document=2",
        "#/features?a=0&b=1-4",
    )
    for name, address in (("served", alone.address), ("static", part)):
        with page_of(browser, address) as page:
            expect(page.locator("a.document")).to_have_count(5)
            for route in routes:
                go(page, route)
                page.wait_for_selector("main li")
                settle(page)
                texts = [page.locator(f"main {what}").all_inner_texts()[:12] for what in ("li", ".token", ".most")]
                pages[name].append(f"{route}\n{texts}")
    assert pages["static"] == pages["served"]


def test_the_page_without_a_server_says_what_it_is_and_what_it_cannot(browser: Browser, part: str) -> None:
    with page_of(browser, part, refused="ERR_FILE_NOT_FOUND") as page:
        expect(page.locator("#banner")).to_have_text(
            "This page holds 5 of 8 documents. All figures are of these 5 alone."
        )
        expect(page.get_by_role("link", name="Compare")).to_have_count(0)
        go(page, "#/features?query=dogs")
        expect(page.locator("main mark").first).to_have_text("dogs")
        go(page, "#/health")
        expect(page.locator("main")).to_contain_text("2 shards")
        go(page, "#/documents/3?at=4")
        expect(page.locator(".token-head").first).to_contain_text("fire")
        expect(page.get_by_role("button", name="Keep to compare")).to_have_count(0)
        page.get_by_role("link", name="What fires more here than elsewhere").click()
        expect(page.locator("li .figure.added").first).to_be_visible()
        for route, words in (
            ("#/compare", "run sae-dashboard"),
            ("#/features?a=0-1", "More needs sae-dashboard"),
            ("#/documents/7", "a part of the data only"),
            ("#/features/7", "fires in none of the documents of this page"),
        ):
            go(page, route)
            expect(page.locator("main")).to_contain_text(words)
