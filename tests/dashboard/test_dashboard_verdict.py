"""Health says first whether anything is wrong, the worst first, and every page has a mark while it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from browser import go, page_of
from dashboard_data import made_up, write_labels, write_shard
from dashboard_server import Dashboard, settings_for
from playwright.sync_api import Browser, expect

from dashboard.model.data import Data
from dashboard.views.health import ANOTHER_SAE, DENSE
from encoder.index.build import build_index
from encoder.sae.quality import Quality


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_labels(tmp_path / "sae")
    for k, explained in enumerate((0.81, 0.95, 0.62)):
        write_shard(tmp_path / "features" / f"fine-{k}.npz", made_up(20, k), quality={"explained_variance": explained})
    bad = Quality(n_sampled=512, mean_l0=60, explained_variance=-31.4)
    warning = bad.warning(None)
    write_shard(tmp_path / "features" / "zz.npz", made_up(20, 9), quality=bad.document(), warning=warning)
    write_shard(
        tmp_path / "features" / "m.npz",
        made_up(20, 8),
        quality={"explained_variance": 0.7},
        warning="900 features a token are active, where this SAE was trained for 60",
    )
    return tmp_path


def test_the_verdict_counts_and_the_worst_shard_comes_first(folder: Path) -> None:
    with Dashboard(Data(settings_for(folder))) as served:
        health = served.api("health")
        assert {name: health["verdict"][name] for name in ("fine", "another_sae", "other_warnings", "rows")} == {
            "fine": 3,
            "another_sae": 1,
            "other_warnings": 1,
            "rows": 100,
        }
        assert [shard["name"] for shard in health["shards"]] == ["zz", "m", "fine-2", "fine-0", "fine-1"]
        assert [shard["name"] for shard in served.api("health", offset=1, limit=2)["shards"]] == ["m", "fine-2"]
        assert health["shards"][0]["warnings"][0].startswith(ANOTHER_SAE), "as the encoder words it"
        assert served.api("summary")["warned"] == 2 and health["densities"] is None


def test_features_that_never_fire_and_that_nearly_always_fire_are_counted(tmp_path: Path) -> None:
    dense = np.zeros((1000, 8), np.float32)
    for feature, n in enumerate((0, 1, 10, 99, 101, 500, 1000)):
        dense[:n, feature] = 1
    write_shard(tmp_path / "features" / "a.npz", scipy.sparse.csr_matrix(dense))
    build_index(tmp_path / "features")
    with Dashboard(Data(settings_for(tmp_path))) as served:
        found = served.api("health")["densities"]
    assert (found["dead"], found["dense"], found["dense_from"]) == (2, 3, DENSE)
    edges, counts = found["histogram"]["edges"], found["histogram"]["counts"]
    assert len(edges) == len(counts) + 1 and sum(counts) == 8 and counts[0] == 2 and edges[-1] == 1
    assert counts[-1] == 1, "the one that fires on all tokens"
    assert sum(n for edge, n in zip(edges, counts, strict=False) if edge >= DENSE * 0.999) == 3


def test_the_pages_show_the_verdict_and_a_mark(browser: Browser, folder: Path) -> None:
    build_index(folder / "features")
    with Dashboard(Data(settings_for(folder))) as served, page_of(browser, served.address) as page:
        expect(page.get_by_role("link", name="Health 2")).to_be_visible()
        page.get_by_role("link", name="2 shards have a warning").click()
        expect(page.locator(".verdict")).to_have_text("3 shards fine, 1 looks like another SAE, 1 other warning")
        first = page.get_by_role("row").nth(1)
        expect(first).to_contain_text("zz") and expect(first).to_contain_text("−3,140 %")
        expect(page.get_by_role("img", name="Histogram of 512 features")).to_be_visible()
        expect(page.locator(".densities")).to_contain_text("1 fire nowhere here (dead)")
        for name in ("zz.npz", "m.npz"):
            (folder / "features" / name).unlink()
        go(page, "#/documents")
        expect(page.get_by_role("link", name="Health", exact=True)).to_be_visible()
        expect(page.get_by_text("have a warning")).to_have_count(0)
