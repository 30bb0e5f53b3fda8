"""Pages to look at: what is on them is what the files say, and nothing on them is more than text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import dashboard_data
import numpy as np
import pytest
from dashboard_data import RELEASE, SAE_ID, write_features, write_labels, write_shard

from encoder import LabelledFeatures, open_features
from encoder.index.build import build_index
from encoder.labelled.page import Page
from encoder.shard import Tokens
from saefetch import open_labels

TAGS = {"style", "div", "span", "p", "bdi", "b", "br", "code"}
ATTRIBUTES = {"class", "style", "tabindex"}
LONG = 2500


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels, some of them hostile; documents of all kinds, the longest one at document 6."""
    folder = tmp_path_factory.mktemp("show")
    write_labels(folder / "sae")
    write_features(folder / "features", long=LONG)
    return folder


@pytest.fixture
def joined(folder: Path) -> Iterator[LabelledFeatures]:
    with open_labels(folder / "sae", RELEASE, SAE_ID) as labels, open_features(folder / "features") as features:
        yield LabelledFeatures(features, labels)


class Read(HTMLParser):
    """What a page is made of: its tags, their attributes, the text of each element of a class."""

    def __init__(self, page: Page) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self._open: list[str] = []
        self.feed(page._repr_html_())
        assert not self._open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        if tag != "br":
            self._open.append(dict(attrs).get("class") or tag)

    def handle_endtag(self, tag: str) -> None:
        self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.texts.append((tuple(self._open), data))

    def of(self, name: str, without: str = "-") -> str:
        """Return the text in elements of the class `name`, without that in elements of another class."""
        inside = [(" ".join(path).split(), text) for path, text in self.texts]
        return "".join(text for classes, text in inside if name in classes and without not in classes)


def test_the_first_document_is_shown_with_each_tokens_features_and_labels(joined: LabelledFeatures) -> None:
    page = Read(joined.show())
    assert page.of("sf-text", without="sf-pop").startswith("<bos>Tell me about dogs.↵ Dogs sleep,⇥<b> bark &")
    shown = page.of("sf-pop")
    for active in joined.strongest(5, limit=8):
        assert f"{active.index}{active.value:.4g}{active.description}" in shown
    n_more = len(joined.strongest(5)) - 8
    assert f"and {n_more:,} more: show(row=5)" in shown and "no feature is active here" in shown  # of row 0
    assert joined.show(document=0) == joined.show() == joined.show(document=np.int64(-8))


def test_labels_and_tokens_of_any_kind_are_text_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    texts = ["<script>alert(1)</script>", '"onmouseover="alert(1)', "'", "&amp;", "</bdi></span>", "<!--", "\n\n\n\n"]
    texts += ["\u2028\u2029", "\0\x1b[31m", "\u202edesrever\u2066", "שלום", "\ud800"]
    write_shard(tmp_path / "a.npz", dashboard_data.made_up(len(texts), 1), Tokens(texts=texts))
    write_shard(tmp_path / "<img src=x onerror=alert(1)>.npz", dashboard_data.made_up(3, 2))
    with open_labels(folder / "sae", RELEASE, SAE_ID) as labels, open_features(tmp_path) as features:
        joined = LabelledFeatures(features, labels)
        pages = [joined.show(document=i) for i in range(2)]
        pages += [joined.show(row=4), joined.show(row=-1), *(joined.show(feature=i) for i in range(7))]
        pages += [joined.show(document=1, feature=0)]
    said = ""
    for page in pages:
        read = Read(page)
        assert read.tags <= TAGS and {name for name, _ in read.attributes} <= ATTRIBUTES, page
        assert not re.search("[\x00-\x08\x0b-\x1f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", page.body)
        saved = page.save(tmp_path / "page.html").read_text("utf-8")
        assert page.body in saved and not re.search(r"<script|<img|<link|url\(|@import", saved)
        said += read.of("sf")
    for text in [*texts[:6], "שלום", "U+D800", "U+202Edesrever", "U+2028U+2029", "␀␛[31m"]:
        assert text in said
    for i in (0, 1, 5, 6):
        assert f"Feature {i}: {dashboard_data.published(i)}" in said


def test_a_row_is_shown_with_all_its_features_and_the_text_around_it(joined: LabelledFeatures) -> None:
    page = Read(joined.show(row=-1000))
    active = joined.strongest(-1000)
    listed = page.of("sf-list")
    assert listed == "".join(f"{one.index}{one.value:.4g}{one.description or 'no label'}" for one in active)
    assert f"{len(active)} features are active" in page.of("sf-top")
    assert (
        len(re.split(r"[\s↵]+", page.of("sf-text").strip())) == 33
        and page.of("sf-mark").strip() in dashboard_data.WORDS
    )


def test_a_feature_is_shown_where_it_is_strongest_with_and_without_an_index(
    folder: Path, joined: LabelledFeatures, tmp_path: Path
) -> None:
    feature = joined.strongest(59)[0].index  # this row is masked
    with_pass = Read(joined.show(feature=feature))
    assert "going over all rows" in with_pass.of("sf-top") and "sae-encode index" in with_pass.of("sf-top")
    (tmp_path / "features").mkdir()
    for path in (folder / "features").glob("*.npz"):
        (tmp_path / "features" / path.name).symlink_to(path)
    build_index(tmp_path / "features")
    with (
        open_labels(folder / "sae", RELEASE, SAE_ID) as labels,
        open_features(tmp_path / "features") as features,
    ):
        by_index = Read(LabelledFeatures(features, labels).show(feature=feature))
        column = features[:][:, [feature]].toarray().ravel()
        masks = [features.tokens(i).row_mask for i in range(features.n_shards)]
    assert sum(mask is not None for mask in masks) == 1
    column[20:171][~masks[1]] = 0
    assert "by the folder's index" in by_index.of("sf-top")
    values = [float(text) for path, text in with_pass.texts if path[-1] == "sf-value"]
    assert len(values) == 20 and values == sorted(values, reverse=True)
    assert values[0] == float(f"{column.max():.4g}")
    assert f"fires on {np.count_nonzero(column):,} of" in with_pass.of("sf-top")


def test_a_document_is_coloured_by_a_feature(joined: LabelledFeatures) -> None:
    page = joined.show(document=3, feature=20)
    with_heat = re.findall(r'style="--h:(\d+)%"', page.body)
    counted = [row for row in range(51, 131) if row not in (59, 99)]  # these two are masked
    values = [active.value for row in counted for active in joined.strongest(row) if active.index == 20]
    assert [int(heat) for heat in with_heat] == [round(100 * value / max(values)) for value in values] == [9, 100]
    assert "Colour: feature 20 (references to" in Read(page).of("sf-top")
    assert joined.show(row=52, feature=20).body.count("sf-mark") == 1


def test_rows_that_do_not_count_are_shown_as_such_and_have_no_heat(joined: LabelledFeatures) -> None:
    body = joined.show(document=3).body
    assert body.count("this row does not count") == body.count("sf-out") == 2
    assert not re.search(r"sf-out[^>]*--h", body)
    assert "this row does not count: mask" in joined.show(row=20 + 39).body


def test_a_long_document_is_shown_in_parts_that_lead_to_each_other(joined: LabelledFeatures) -> None:
    calls, rows, seen = [{"document": 6}], [], set()
    while calls:
        call = calls.pop()
        page = Read(joined.show(**call))
        shown = re.search(r"The tokens ([\d,]+) to ([\d,]+) are shown", page.of("sf-top"))
        assert shown is not None
        part = tuple(int(text.replace(",", "")) for text in shown.groups())
        if part not in seen:
            seen.add(part)
            rows += range(part[0], part[1] + 1)
            calls += [
                {"document": 6, "row": int(row)} for row in re.findall(r"document=6, row=(\d+)", page.of("sf-top"))
            ]
    assert sorted(rows) == list(range(LONG))


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"document": 8}, "document 8 does not exist: there are 8, counted from 0"),
        ({"document": -9}, "document -9"),
        ({"row": 10**6}, "there are 2,708"),
        ({"feature": 512}, "feature 512 does not exist: there are 512"),
        ({"document": 0, "feature": 512}, "feature 512"),
        ({"document": 0, "row": 25}, "row 25 is not in document 0, which has the rows 0 to 19"),
    ],
)
def test_what_is_not_there_is_an_index_error_with_what_there_is(
    joined: LabelledFeatures, asked: dict[str, int], says: str
) -> None:
    with pytest.raises(IndexError, match=re.escape(says)):
        joined.show(**asked)


def test_a_folder_without_rows_has_no_document_to_show(folder: Path, tmp_path: Path) -> None:
    write_shard(tmp_path / "a.npz", dashboard_data.made_up(0, 1))
    with open_labels(folder / "sae", RELEASE, SAE_ID) as labels, open_features(tmp_path) as features:
        joined = LabelledFeatures(features, labels)
        for asked in ({}, {"row": 0}):
            with pytest.raises(IndexError, match="there is no"):
                joined.show(**asked)
        assert "fires on 0 of 0 rows that count" in joined.show(feature=1).body


def test_numbers_that_are_no_whole_numbers_are_refused(joined: LabelledFeatures) -> None:
    for wrong in (1.5, "1"):
        with pytest.raises(TypeError):
            joined.show(document=wrong)  # type: ignore[arg-type]
