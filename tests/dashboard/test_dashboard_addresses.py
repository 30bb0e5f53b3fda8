"""A document's address, a kept comparison and a selection mean the same when a shard arrives before what they name."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import go, page_of, settle
from dashboard_data import made_up, write_features, write_labels, write_shard
from dashboard_server import Dashboard, settings_for
from playwright.sync_api import Browser, expect

from dashboard.model.data import Data
from encoder.index.build import build_index
from encoder.shard import Tokens

EARLIER = [" earlier", " words", " that", " arrived", " later"]
AT = 7
"""A token of the third document of a shard of four."""


@pytest.fixture
def growing(tmp_path: Path) -> Path:
    write_labels(tmp_path / "sae")
    write_features(tmp_path / "features")
    write_shard(tmp_path / "features" / "7.npz", made_up(9, 3))
    return tmp_path


def grow(folder: Path) -> None:
    """Let a shard arrive that comes before all others."""
    write_shard(folder / "features" / "0-first.npz", made_up(5, 9), Tokens(texts=EARLIER))
    (folder / "features" / "features.csc").unlink(missing_ok=True)


def test_every_document_has_an_address_that_leads_to_it(growing: Path) -> None:
    with Dashboard(Data(settings_for(growing))) as served:
        listed = served.api("documents")["documents"]
        addresses = [one["address"] for one in listed]
        corpus = ["corpus__part-0", *(f"corpus__part-0:{k}" for k in (1, 2, 3))]
        assert addresses == ["7:0", "capture", *corpus, "ids", "nothing"]
        for one in listed:
            by_name, by_number = (served.api(f"documents/{which}/tokens") for which in (one["address"], one["id"]))
            assert by_name == by_number and by_name["address"] == one["address"]
            assert served.api(f"documents/{one['address']}/row", at=0)["row"] == one["first_row"]
        assert served.api("documents/capture:0/tokens")["document"] == 1
        for address in ("corpus__part-0:4", "corpus__part-0:", "capture:1", "empty", "empty:0", "no shard", "7:1"):
            assert served.refused(f"documents/{address}/tokens") == (404, f"document {address!r} is not here (yet):"
                " there is no such shard, or it has fewer")  # fmt: skip
        assert served.refused("documents/capture/row", at=20)[0] == 404


def test_addresses_comparisons_and_selections_mean_the_same_after_a_shard_arrived(growing: Path) -> None:
    third = "corpus__part-0:2"
    with Dashboard(Data(settings_for(growing))) as served:
        number = served.api(f"documents/{third}/tokens")["document"]
        chosen = served.api("search", a=f"1-{number},0", b="rest", limit=500)
        compared = served.api("compare", a=f"doc:{number}", b=f"row:{number}:{AT}")
        fires = served.api("search", document=third, limit=500)["features"]
        assert chosen["a"] == f"7:0..{third}" and chosen["b"] == "rest"
        assert (compared["a"]["name"], compared["b"]["name"]) == (f"doc:{third}", f"row:{third}@{AT}")
        assert chosen["features"] != served.api("search", a=f"0-{number - 1}", b="rest", limit=500)["features"]
        grow(growing)
        again = served.api(f"documents/{third}/tokens")
        assert again["previous"] == "corpus__part-0:1" and again["next"] == "corpus__part-0:3"
        assert again["document"] == number + 1 and served.api(f"documents/{number}/tokens")["address"] != third
        b = served.api("search", a=chosen["a"], b="corpus__part-0:3,ids..nothing", limit=500)
        assert [(one["index"], one["z"]) for one in b["features"]] == [
            (one["index"], one["z"]) for one in chosen["features"]
        ]
        assert served.api("search", document=third, limit=500)["features"] == fires
        after = served.api("compare", a=compared["a"]["name"], b=compared["b"]["name"])
        assert after["features"] == compared["features"] and after["a"]["id"] == number + 1


def test_a_page_that_is_open_reads_the_same_document_when_a_shard_arrives(browser: Browser, growing: Path) -> None:
    build_index(growing / "features")
    with Dashboard(Data(settings_for(growing))) as served, page_of(browser, served.address) as page:
        page.get_by_role("link", name="document 4").click()
        expect(page).to_have_url(f"{served.address}#/documents/corpus__part-0:2")
        page.locator(f"#t{AT}").click()
        expect(page.locator(".token-head").first).to_contain_text(f"token {AT}")
        token = page.locator(".token-head .token").inner_text()
        grow(growing)
        page.locator(f"#t{AT + 1}").click()
        expect(page.locator(".token-head").first).to_contain_text(f"token {AT + 1}")
        page.locator(f"#t{AT}").click()
        expect(page.locator(".token-head").first).to_contain_text(f"token {AT}")
        expect(page.locator(".token-head .token")).to_have_text(token)
        page.get_by_role("button", name="Keep to compare").click()
        page.reload()
        expect(page.locator(".token-head .token")).to_have_text(token)
        go(page, "#/features?a=2-3&b=4")
        settle(page)
        expect(page).to_have_url(f"{served.address}#/features?a=capture..corpus__part-0&b=corpus__part-0:1")
