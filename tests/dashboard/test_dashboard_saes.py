"""The dashboard over a folder with the features of several SAEs, and over an index in another folder."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from browser import page_of, strongest
from dashboard_data import PROMPT, RELEASE, RESPONSE, SAE_ID, made_up, write_features, write_shard
from dashboard_server import Dashboard, settings_for
from playwright.sync_api import Browser, expect

from dashboard.cli.saes import data_of, features_of, saes_in
from dashboard.errors import DashboardError
from dashboard.model.data import Data
from dashboard.model.tokens import Vocabulary
from encoder.index.build import build_index
from encoder.shard import Tokens

PLAIN = SAE_ID.replace("/", "_")


@pytest.fixture
def several(tmp_path: Path) -> Path:
    """Features of two SAEs, the second of which is the one that the made-up features say."""
    made = tmp_path / "made"
    write_features(made)
    for name in ("another", PLAIN):
        shutil.copytree(made, tmp_path / "all" / RELEASE / name)
    return tmp_path / "all"


def test_of_several_saes_the_named_one_is_shown(several: Path) -> None:
    assert features_of(several, None, (RELEASE, SAE_ID)) == (several / RELEASE / PLAIN, None)
    assert features_of(several / RELEASE / "another", None, None) == (several / RELEASE / "another", None)
    shutil.rmtree(several / RELEASE / "another")
    assert features_of(several, None, None) == (several / RELEASE / PLAIN, None), "the only one needs no name"


def test_without_a_name_those_that_there_are_are_listed(several: Path) -> None:
    with pytest.raises(DashboardError) as refused:
        features_of(several, None, None)
    assert f"has the features of 2 SAEs; name one: {RELEASE}/another, {RELEASE}/{PLAIN}" in str(refused.value)
    assert "--sae-release R --sae-id ID" in str(refused.value)
    with pytest.raises(DashboardError, match="has no SAE"):
        features_of(several, None, (RELEASE, "layer_3"))


def test_an_index_in_another_folder_is_found_when_told(several: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    of_sae, of_index = features_of(several, index, (RELEASE, SAE_ID))
    assert of_index == index / RELEASE / PLAIN / "features.csc"
    settings = replace(settings_for(tmp_path), features=of_sae, index=of_index)
    with Dashboard(Data(settings)) as served:
        told = served.api("summary")["features"]["index"]
        assert told["state"] == "missing" and told["command"] == "sae-encode index FEATURES --out INDEX"
    build_index(of_sae, of_index.parent)
    with Dashboard(Data(settings)) as served:
        assert served.api("summary")["features"]["index"]["state"] == "ready"
    assert not (of_sae / "features.csc").exists()


def test_every_sae_of_every_folder_has_a_name_of_its_own(several: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    assert saes_in([several, made, made, tmp_path / "none"]) == {
        f"{RELEASE}/another": several / RELEASE / "another",
        f"{RELEASE}/{PLAIN}": several / RELEASE / PLAIN,
        "made": made,
        "made (2)": made,
        "none": tmp_path / "none",
    }


def test_requests_name_the_sae_that_they_are_about(several: Path, tmp_path: Path) -> None:
    other = several / RELEASE / "another" / "ids.npz"
    other.unlink()
    settings = replace(settings_for(tmp_path), named=(RELEASE, SAE_ID))
    with Dashboard(data_of(settings, [several, tmp_path / "made"], None, Vocabulary())) as served:
        first, names = served.api("summary"), [f"{RELEASE}/{PLAIN}", f"{RELEASE}/another", "made"]
        assert first["sae"] == names[0] and first["saes"] == names
        another = served.api("summary", sae=names[1])
        assert (another["sae"], another["features"]["n_documents"]) == (names[1], first["features"]["n_documents"] - 1)
        assert served.api("documents/nothing/row", at=3, sae=names[1])["row"] == 174
        assert served.api("documents/nothing/row", at=3)["row"] == 199
        assert served.refused("documents/ids/row", at=3, sae=names[1])[0] == 404
        status, error = served.refused("summary", sae="nowhere")
        assert status == 404 and f"there is no SAE 'nowhere' here: {names[0]}" in error
    with Dashboard(data_of(replace(settings, named=None), [several], None, Vocabulary())) as served:
        assert served.api("summary")["sae"] == f"{RELEASE}/another", "the first, where none is named"


def test_a_menu_leads_to_another_sae_and_two_are_seen_beside_each_other(browser: Browser, several: Path) -> None:
    shutil.copytree(several.parent / "made", several / RELEASE / "third")
    write_shard(several / RELEASE / "third" / "capture.npz", made_up(20, 9), Tokens(texts=[*PROMPT, *RESPONSE]))
    with (
        Dashboard(data_of(settings_for(several.parent), [several], None, Vocabulary())) as served,
        page_of(browser, f"{served.address}#/documents/capture?at=4") as page,
    ):
        menu = page.get_by_label("SAE", exact=True)
        expect(menu).to_have_value(f"{RELEASE}/another")
        page.get_by_label("Beside it").select_option(f"{RELEASE}/third")
        lists = page.get_by_role("list", name="Features that fire on this token")
        expect(lists).to_have_count(2)
        for which, seed in ((0, 0), (1, 9)):
            expect(lists.nth(which).locator(".index").first).to_have_text(str(strongest(made_up(20, seed), 4)[0][0]))
        boxes = [lists.nth(which).bounding_box() for which in range(2)]
        assert boxes[0] and boxes[1] and boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"] + 1
        expect(page).to_have_url(re.compile("beside="))
        page.locator("#t3").click()
        page.locator("#t5").click()
        expect(lists.nth(1).locator(".index").first).to_have_text(str(strongest(made_up(20, 9), 5)[0][0]))
        menu.focus()
        page.keyboard.press("End")
        expect(page).to_have_url(re.compile(r"\?sae=[^#]*third#/documents/capture\?at=5"))
        expect(lists.first.locator(".index").first).to_have_text(str(strongest(made_up(20, 9), 5)[0][0]))
        expect(menu).to_have_value(f"{RELEASE}/third")
        page.get_by_role("link", name="Documents", exact=True).click()
        expect(page).to_have_url(re.compile(r"\?sae=[^#]*third#/documents$"))
