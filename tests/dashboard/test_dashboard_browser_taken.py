"""What a person takes out of the pages: figures, tables, rows copied by hand, paper; their own stars and notes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import go, page_of, settle
from dashboard_data import published
from dashboard_server import Dashboard, settings_for
from playwright.sync_api import Browser, Page, expect

from dashboard.export import export
from dashboard.model.data import Data
from dashboard.page import WebFiles

CLIPBOARD = "navigator.clipboard.readText()"


@pytest.fixture
def page(browser: Browser, served: Dashboard) -> Iterator[Page]:
    with page_of(browser, served.address) as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        yield page


def copied(page: Page, name: str) -> str:
    page.get_by_text("Copy as figure").click()
    page.get_by_role("button", name=f"Copy {name}").click()
    expect(page.locator(".take [role=status]")).to_have_text(f"{name} copied")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name=f"Copy {name}")).to_be_hidden()
    return str(page.evaluate(CLIPBOARD))


@pytest.mark.parametrize(
    ("route", "asked"),
    [
        ("#/documents/0?colour=feature:300,4", {"of": "document", "document": "capture", "colour": "feature:300,4"}),
        ("#/features/42", {"of": "feature", "index": 42, "distinct": 1}),
        ("#/features?a=0&b=1-4", {"of": "features", "a": "0", "b": "1-4"}),
        ("#/compare?a=doc:0&b=doc:1", {"of": "compare", "a": "doc:0", "b": "doc:1"}),
    ],
)
def test_a_figure_of_what_is_shown_is_copied(page: Page, served: Dashboard, route: str, asked: dict[str, Any]) -> None:
    go(page, route)
    settle(page)
    assert copied(page, "SVG") == served.api("figure", format="svg", **asked)["text"]
    assert copied(page, "TSV") == served.api("figure", format="tsv", **asked)["text"]


def test_a_picture_is_copied_and_a_table_saved(page: Page, served: Dashboard, tmp_path: Path) -> None:
    go(page, "#/documents/0")
    page.get_by_text("Copy as figure").click()
    page.get_by_role("button", name="Copy PNG").click()
    expect(page.locator(".take [role=status]")).to_have_text("PNG copied")
    size = page.evaluate("""async () => {
      const [item] = await navigator.clipboard.read();
      const picture = await createImageBitmap(await item.getType("image/png"));
      return [picture.width, picture.height];
    }""")
    assert size[0] == 1440 and size[1] > 200
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save CSV").click()
    saved.value.save_as(tmp_path / "saved")
    expected = served.api("figure", of="document", document="capture", format="csv")
    assert saved.value.suggested_filename == expected["name"] == "document-capture.csv"
    assert (tmp_path / "saved").read_text() == expected["text"]


def test_c_copies_the_held_token_or_the_table(page: Page, served: Dashboard) -> None:
    go(page, "#/documents/0?at=4")
    expect(page.locator("#t4.held")).to_be_visible()
    expect(page.locator("#said")).to_contain_text("token 4:")  # what is said of the token comes with its answer
    page.keyboard.press("c")
    expect(page.locator("#said")).to_have_text("TSV copied")
    expected = served.api("figure", of="token", document="capture", at=4, format="tsv")["text"]
    assert page.evaluate(CLIPBOARD) == expected
    page.evaluate("document.getElementById('said').textContent = ''")
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    expect(page.locator("#said")).to_have_text("TSV copied")
    assert page.evaluate(CLIPBOARD) == served.api("figure", document="capture", format="tsv")["text"]


def test_rows_that_are_copied_by_hand_have_separators(page: Page) -> None:
    go(page, "#/features?query=cooking")
    first = page.locator(".virtual li").first
    expect(first).to_be_visible()
    page.evaluate("""() => {
      const [one, two] = document.querySelectorAll(".virtual li");
      getSelection().setBaseAndExtent(one, 0, two, two.childNodes.length);
    }""")
    page.keyboard.press("Control+c")
    lines = str(page.evaluate(CLIPBOARD)).split("\n")
    assert len(lines) == 2
    number, text, density, largest, tokens = lines[0].split("\t")
    assert (
        text.startswith(published(int(number)) or "?")
        and density.endswith("%")
        and float(largest)
        and int(tokens.replace(",", ""))
    )
    page.evaluate("""() => {
      const text = document.querySelector(".virtual .label").firstChild;
      getSelection().setBaseAndExtent(text, 0, text, 4);
    }""")
    page.keyboard.press("Control+c")
    assert "\t" not in str(page.evaluate(CLIPBOARD)), "a part of one label is copied as it is"


def test_a_page_without_a_server_has_the_documents_figures(
    browser: Browser, served: Dashboard, folder: Path, tmp_path: Path
) -> None:
    with Data(settings_for(folder)).look() as look:
        export(look, tmp_path / "page", "0-1", WebFiles())
    with page_of(browser, (tmp_path / "page" / "index.html").as_uri()) as page:
        go(page, "#/documents/0?colour=top")
        with page.expect_download() as saved:
            page.get_by_text("Copy as figure").click()
            page.get_by_role("button", name="Save TSV").click()
        saved.value.save_as(tmp_path / "saved")
        expected = served.api("figure", document="capture", colour="top", format="tsv")["text"]
        assert (tmp_path / "saved").read_text() == expected
        go(page, "#/features/42")
        page.get_by_text("Copy as figure").click()
        page.get_by_role("button", name="Save SVG").click()
        expect(page.locator(".take [role=status]")).to_contain_text("More needs sae-dashboard")


def pages_of(pdf: bytes) -> int:
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_view_is_printed_whole_and_without_what_is_for_the_hand(
    browser: Browser, served: Dashboard, scheme: str
) -> None:
    with page_of(browser, f"{served.address}#/features", scheme=scheme) as page:
        expect(page.locator(".virtual li").first).to_be_visible()
        few = pages_of(page.pdf(format="A4"))
        page.evaluate("sae.whole(true)")
        assert page.locator(".virtual li").count() == 512
        many = pages_of(page.pdf(format="A4", print_background=True))
        assert many > 10 > few
        expect(page.locator(".virtual li").nth(100)).not_to_be_attached(), "what is not seen is let go afterwards"
        page.evaluate("sae.whole(true)")
        page.emulate_media(media="print")
        for name in ("nav", "#theme-button", ".take", "select", ".notes"):
            expect(page.locator(name).first).to_be_hidden()
        expect(page.locator(".columns")).to_be_visible()
        assert page.locator(".columns").evaluate("node => getComputedStyle(node.parentNode).display") == (
            "table-header-group"
        ), "heads are repeated on each sheet"
        assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
        tops = page.locator(".virtual li").evaluate_all(
            "nodes => nodes.map((node) => node.getBoundingClientRect().top)"
        )
        assert tops == sorted(tops) and len(set(tops)) == 512, "rows stand below each other"
        page.emulate_media(media="screen")
        page.evaluate("sae.whole(false)")
        assert page.locator(".virtual li").count() < 100
        go(page, "#/documents/0?at=4&colour=feature:300")
        page.evaluate("sae.whole(true)")
        page.emulate_media(media="print")
        heat = page.locator(".flow [data-heat]").first
        assert heat.evaluate("node => getComputedStyle(node).backgroundColor") != "rgba(0, 0, 0, 0)"
        assert page.locator(".flow").evaluate("node => node.scrollHeight <= node.clientHeight + 1")


def test_stars_labels_and_notes_are_kept_written_and_read(page: Page, tmp_path: Path) -> None:
    go(page, "#/features/42")
    page.get_by_role("button", name="★ Star").click()
    page.get_by_label("Your own label").fill('the weather, "as told"')
    page.get_by_label("A note").fill("=look again")
    expect(page.locator(".lead")).to_have_text('★ mine the weather, "as told"')
    page.reload()
    expect(page.get_by_role("button", name="★ Star")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_label("A note")).to_have_value("=look again")
    go(page, "#/features?query=legal kind 5&sort=index")
    row = page.locator(".virtual li").filter(has_text="as told")
    expect(row.locator(".tag")).to_have_attribute("title", published(42) or "")
    page.get_by_text("Your stars and notes (1)").click()
    files = {}
    for name in ("CSV", "JSON"):
        with page.expect_download() as saved:
            page.get_by_role("button", name=f"Write {name}").click()
        files[name] = tmp_path / saved.value.suggested_filename
        saved.value.save_as(files[name])
    expected = {"feature": 42, "star": True, "label": 'the weather, "as told"', "note": "=look again"}
    assert json.loads(files["JSON"].read_text()) == [expected]
    assert files["CSV"].read_text().splitlines()[1] == '42,true,"the weather, ""as told""","\'=look again"'
    files["CSV"].write_text(files["CSV"].read_text() + '\n7,false,"two\nlines",\n')
    for name in ("CSV", "JSON"):
        page.evaluate("localStorage.clear()")
        page.reload()
        page.get_by_text("Your stars and notes (0)").click()
        page.get_by_label("Read stars and notes from a file").set_input_files(files[name])
        expect(page.get_by_text(f"Your stars and notes ({2 if name == 'CSV' else 1})")).to_be_visible()
        expect(page.locator(".virtual li").filter(has_text="as told")).to_be_visible()
    go(page, "#/features/42")
    expect(page.get_by_label("A note")).to_have_value("=look again")
    go(page, "#/features")
    page.get_by_text("Your stars and notes (1)").click()
    (tmp_path / "bad.json").write_text('[{"feature": "x"}]')
    page.get_by_label("Read stars and notes from a file").set_input_files(tmp_path / "bad.json")
    expect(page.get_by_text("Not read: there is no column feature")).to_be_visible()
    page.evaluate("localStorage.clear()")
