"""Rows that do not count are shown, with the reason, and are in no figure; what is strongest goes by magnitude."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from browser import go, page_of
from dashboard_data import WIDTH, made_up, write_labels, write_shard
from dashboard_server import Dashboard, settings_for
from playwright.sync_api import Browser, expect

from dashboard.model.data import Data
from encoder.index.build import build_index
from encoder.index.format import NAME
from encoder.rows import REASONS
from encoder.shard import Tokens

N_ROWS, DOCUMENTS = 90, 3


@contextmanager
def serving(folder: Path) -> Iterator[Dashboard]:
    with Dashboard(Data(settings_for(folder))) as dashboard:
        yield dashboard


def padded(matrix: Any, documents: Any, seed: int) -> tuple[Any, Any, Any]:
    """Insert rows that do not count, of huge values, anywhere; return rows, documents and reasons."""
    random = np.random.default_rng(seed)
    n_extra = int(random.integers(1, 60))
    at = np.sort(random.integers(0, matrix.shape[0], n_extra))
    order = np.argsort(np.concatenate([np.arange(matrix.shape[0]), at - 0.5]), kind="stable")
    extra = scipy.sparse.csr_matrix(random.choice([0, 900.0, -900.0], (n_extra, matrix.shape[1])).astype(np.float32))
    reasons = np.concatenate([np.zeros(matrix.shape[0]), random.integers(1, len(REASONS) + 1, n_extra)])
    return (
        scipy.sparse.vstack([matrix, extra], format="csr")[order],
        np.concatenate([documents, documents[at]])[order],
        reasons.astype(np.uint8)[order],
    )


def shown(folder: Path, with_index: bool) -> dict[str, Any]:
    """Return every figure that the pages show, without the rows' own numbers."""
    if with_index:
        build_index(folder / "features")
    with serving(folder) as served:
        found: dict[str, Any] = {}
        features = served.api("summary")["features"]
        found["summary"] = features["mean_l0"], features["rows"] - sum(features["excluded"].values())
        documents = served.api("documents")["documents"]
        found["documents"] = [(one["mean_l0"], one["rows"] - one["excluded"]) for one in documents]
        for number in range(DOCUMENTS):
            found[f"fires {number}"] = served.api(f"documents/{number}/features", limit=WIDTH)
            for colour in ("l0", "top", "feature:11"):
                answer = served.api(f"documents/{number}/tokens", colour=colour)
                found[f"colour {number} {colour}"] = answer["floor"], answer["scale"]
        found["compared"] = served.api("compare", a="doc:0", b="doc:2", limit=WIDTH)["features"]
        (shard,) = served.api("health")["shards"]
        found["health"] = shard["mean_l0"], shard["l0_histogram"], served.api("health")["densities"]
        for sort in ("index", "max", "density"):
            found[sort] = served.api("search", sort=sort, limit=WIDTH)
        for address in ({"document": 1}, {"a": "0", "b": "rest"}, {"a": "1", "b": "0,2"}):
            found[str(address)] = served.api("search", limit=WIDTH, **address)
        for index in (0, 11, 300) if with_index else ():
            found[f"here {index}"] = served.api(f"features/{index}")["here"]
            for distinct in (0, 1):
                answer = served.api(f"features/{index}/top", limit=200, distinct=distinct)
                contexts = [(one["value"], one["document"], one["tokens"][one["at"]]) for one in answer["contexts"]]
                found[f"top {index} {distinct}"] = answer["total"], contexts
        return found


@pytest.mark.parametrize("with_index", [True, False])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_rows_that_do_not_count_change_no_figure_wherever_they_are(tmp_path: Path, seed: int, with_index: bool) -> None:
    matrix, documents = made_up(N_ROWS, seed), np.arange(N_ROWS) // 30
    texts = np.array([f" {i}" for i in range(N_ROWS)])
    rows, numbers, reasons = padded(matrix, documents, seed)
    padded_texts = np.full(len(reasons), "<pad>", object)
    padded_texts[reasons == 0] = texts
    for name in ("plain", "padded"):
        (tmp_path / name / "features").mkdir(parents=True)
    write_shard(tmp_path / "plain" / "features" / "a.npz", matrix, Tokens(texts=[*texts], row_document=documents))
    tokens = Tokens(texts=[*padded_texts], row_document=numbers, row_mask=reasons == 0, row_reason=reasons)
    write_shard(tmp_path / "padded" / "features" / "a.npz", rows, tokens)
    plain, with_padding = (shown(tmp_path / name, with_index) for name in ("plain", "padded"))
    for what, figures in plain.items():
        assert with_padding[what] == figures, what


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five rows of which the second, the third and the last do not count, each for another reason; signed values."""
    path = tmp_path_factory.mktemp("excluded")
    write_labels(path / "sae")
    (path / "features").mkdir()
    dense = np.zeros((6, WIDTH), np.float32)
    dense[:, 20] = [1, 900, 0, -7, 3, 800]
    dense[:, 21] = [2, 0, 500, 5, -6, 0]
    dense[1:3, 22] = 9
    reasons = np.array([0, 1, 3, 0, 0, 4], np.uint8)
    tokens = Tokens(texts=[" a", "<pad>", " c", " d", " e", " f"], row_mask=reasons == 0, row_reason=reasons)
    write_shard(path / "features" / "a.npz", scipy.sparse.csr_matrix(dense), tokens)
    build_index(path / "features")
    return path


def test_a_row_that_does_not_count_says_why(folder: Path) -> None:
    with serving(folder) as served:
        answer = served.api("documents/0/tokens")
        assert answer["reasons"] == [None, "mask", "first", None, None, "norm"] and answer["excluded"] == 3
        assert answer["masked"] == [False, True, True, False, False, True]
        assert [served.api(f"rows/{row}")["reason"] for row in range(6)] == answer["reasons"]
        assert served.api("compare", a="row:1", b="row:0")["a"]["reason"] == "mask"
        (context, *_) = served.api("features/20/top")["contexts"]
        assert context["masked"] == answer["masked"] and context["values"] == [1, 0, 0, -7, 3, 0]
        excluded = {"mask": 1, "token": 0, "first": 1, "norm": 1}
        assert served.api("summary")["features"]["excluded"] == excluded
        assert served.api("health")["shards"][0]["excluded"] == excluded


def test_a_feature_that_fires_only_where_rows_do_not_count_fires_nowhere(folder: Path) -> None:
    with serving(folder) as served:
        assert served.api("features/22")["here"]["count"] == 0
        assert served.api("features/22/top") == {"total": 0, "contexts": []}
        active = served.api("rows/1")["active"]
        assert active["index"] == [20, 22] and active["share_here"] == [900 / 7, None]
        assert 22 not in [one["index"] for one in served.api("search", document=0)["features"]]


def test_what_is_strongest_goes_by_magnitude_and_keeps_its_sign(folder: Path) -> None:
    with serving(folder) as served:
        top = served.api("features/20/top")
        assert [one["value"] for one in top["contexts"]] == [-7, 3, 1] and top["total"] == 3
        below = served.api("features/20/top", below=5)
        assert [one["value"] for one in below["contexts"]] == [3, 1]
        here = served.api("features/20")["here"]
        assert (here["max"], here["count"]) == (-7, 3)
        assert here["histogram"]["edges"][0] == -7 and here["histogram"]["edges"][-1] == 7
        row = served.api("rows/4")["active"]
        assert (row["index"], row["value"]) == ([21, 20], [-6, 3])
        assert row["share_here"] == [1, pytest.approx(3 / 7)]
        found = served.api("search", sort="max", limit=2)["features"]
        assert [(one["index"], one["max"]) for one in found] == [(20, -7), (21, -6)]
        document = served.api("documents/0/features")["features"]
        assert [(one["index"], one["sum"], one["max"]) for one in document] == [(21, 13, -6), (20, 11, -7)]
        tokens = served.api("documents/0/tokens", colour="feature:20")
        assert (tokens["values"], tokens["scale"]) == ([1, 900, 0, -7, 3, 800], 7)
        assert served.api("documents/0/tokens", colour="top")["values"][3:5] == [-7, -6]


def test_an_older_index_is_read_says_so_and_counts_no_row_that_does_not_count(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "features").mkdir()
    dense = np.zeros((4, WIDTH), np.float32)
    dense[:, 20] = [1, 900, 7, 3]
    path, texts = tmp_path / "features" / "a.npz", ["a", "b", "c", "d"]
    write_shard(path, scipy.sparse.csr_matrix(dense), Tokens(texts=texts))
    index = build_index(tmp_path / "features")
    index.write_bytes(index.read_bytes().replace(b'"version": 2', b'"version": 1'))  # it counts every row, as they did
    mask = np.array([True, False, True, True])
    write_shard(path, scipy.sparse.csr_matrix(dense), Tokens(texts=texts, row_mask=mask))
    with serving(tmp_path) as served:
        summary = served.api("summary")
        assert summary["features"]["index"]["state"] == "older"
        assert [hint["what"] for hint in summary["hints"]][-1].startswith("the index by feature is of an older version")
        top = served.api("features/20/top")
        assert [one["value"] for one in top["contexts"]] == [7, 3, 1] and top["total"] == 3
        assert served.api("documents/0/tokens", colour="feature:20")["scale"] == 7
        here = served.api("features/20")["here"]
        assert (here["max"], here["count"], here["density"], here["mean"]) == (7, 3, 1, pytest.approx(11 / 3))
        assert here["histogram"]["edges"][-1] == 7 and sum(here["histogram"]["counts"]) == 3
        with page_of(browser, f"{served.address}#/features/20") as page:
            expect(page.locator("#banner")).to_contain_text("is of an older version")
            expect(page.locator("#banner")).to_contain_text("sae-encode index")
    assert index.name == NAME


def test_the_page_shows_which_tokens_do_not_count_and_why(browser: Browser, folder: Path) -> None:
    with serving(folder) as served, page_of(browser, served.address) as page:
        expect(page.locator("main")).to_contain_text("3 do not count (mask 1, first 1, norm 1)")
        go(page, "#/documents/0?colour=feature:20")
        expect(page.locator(".masked")).to_have_count(3)
        expect(page.locator("#t1")).to_have_attribute("title", "does not count: the data mark it as padding")
        expect(page.locator("#t3")).to_have_attribute("data-heat", "10")
        expect(page.locator("#t3")).to_have_attribute("data-sign", "minus")
        expect(page.locator("#t1[data-heat]")).to_have_count(0)
        page.locator("#t0").click()
        page.keyboard.press("n")
        expect(page.locator("#t3.held")).to_be_attached()  # over the two that do not count
        page.locator("#t5").click()
        expect(page.locator(".token-head").first).to_contain_text("does not count: its norm")
        go(page, "#/health")
        expect(page.locator("main")).to_contain_text("3 do not count (mask 1, first 1, norm 1)")
        go(page, "#/features/20")
        expect(page.locator("main")).to_contain_text("Of the tokens that count; 3 do not count (mask 1")
        expect(page.locator(".contexts .value").first).to_have_text("-7.00")
        expect(page.locator(".contexts li").first.locator(".masked")).to_have_count(3)


def test_values_in_another_scale_are_not_compared_with_neuronpedias_and_are_marked(
    browser: Browser, tmp_path: Path
) -> None:
    write_labels(tmp_path / "sae")
    (tmp_path / "features").mkdir()
    answers = {}
    for scale in ("own", "neuronpedia"):
        write_shard(tmp_path / "features" / "a.npz", made_up(5, 1), value_scale=scale)
        build_index(tmp_path / "features")
        with serving(tmp_path) as served:
            active, feature = served.api("rows/1")["active"], served.api("features/20")
            answers[scale] = {share is None for share in active["share"]}, feature["is_one_scale"]
            assert None not in active["share_here"], "a share of these documents is in one scale always"
            assert served.api("summary")["features"]["is_one_scale"] == feature["is_one_scale"]
            with page_of(browser, f"{served.address}#/features/20") as page:
                marked = page.get_by_text("in another scale: Neuronpedia multiplies")
                expect(page.get_by_role("row", name="max activation")).to_be_visible()
                expect(marked).to_have_count(1 if scale == "own" else 0)
    assert answers["own"] == ({True}, False) and answers["neuronpedia"][1]
    assert False in answers["neuronpedia"][0], "some have a largest value on Neuronpedia"
