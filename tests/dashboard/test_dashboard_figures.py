"""What is taken out is what the API answers; each form is well-formed; nothing is a formula to a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from dashboard_data import HOSTILE, RESPONSE, WIDTH, made_up, write_features, write_labels, write_shard
from dashboard_server import Dashboard, settings_for

from dashboard.figures.colours import HEAT, PINS, on_white
from dashboard.figures.figure import Figure, Flow, Mark, Table, is_from_right, split_token
from dashboard.figures.formats import FORMATS
from dashboard.figures.latex import latex
from dashboard.figures.metrics import width_of, wrapped
from dashboard.figures.svg import WIDTH as SVG_WIDTH
from dashboard.figures.svg import svg
from dashboard.model.data import Data
from encoder.index.build import build_index
from encoder.shard import Tokens

SVG = "{http://www.w3.org/2000/svg}"
ASKED: dict[str, dict[str, Any]] = {
    "document": {"document": "capture", "colour": "feature:300,4"},
    "token": {"document": "capture", "at": 4},
    "feature": {"index": 3},
    "features": {"a": "0", "b": "rest"},
    "compare": {"a": "doc:0", "b": "row:capture@4"},
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    path = tmp_path_factory.mktemp("figures")
    write_labels(path / "sae")
    write_features(path / "features")
    formulas = Tokens(texts=["=1+1", "-2", " ok", '"'])
    write_shard(path / "features" / "formulas.npz", made_up(4, 3), formulas)
    build_index(path / "features")
    with Dashboard(Data(settings_for(path))) as dashboard:
        yield dashboard


def take(served: Dashboard, of: str, form: str, **more: Any) -> str:
    answer = served.api("figure", of=of, format=form, **(ASKED[of] | more))
    assert answer["name"].endswith(f".{FORMATS[form].ending}") and re.fullmatch(r"[\w.-]+", answer["name"])
    assert answer["type"] == FORMATS[form].type
    text: str = answer["text"]
    return text


@pytest.mark.parametrize("of", ASKED)
def test_every_form_of_every_figure_is_well_formed_and_has_its_caption(served: Dashboard, of: str) -> None:
    caption = (
        "SAE: gemma-2-2b/16-gemmascope-res-16k. Corpus: features, 8 documents, 212 tokens, of which 3 do not count."
    )
    for form in FORMATS:
        text = take(served, of, form)
        is_drawn = form in ("svg", "html", "latex", "markdown")
        assert not (is_drawn and "\u202e" in text), "no text moves another"
        if form == "svg":
            root = ET.fromstring(text)
            said = " ".join(node.text or "" for node in root.iter(f"{SVG}text"))
            assert caption in said and float(root.get("width") or 0) == SVG_WIDTH
            assert {node.tag for node in root.iter()} <= {
                SVG + tag for tag in ("svg", "title", "rect", "text", "defs", "linearGradient", "stop")
            }
        elif form == "html":
            assert tags_of(text) <= {"figure", "div", "span", "p", "br", "bdi", "table", "tr", "td", "figcaption"}
            assert caption in text
        elif form == "json":
            assert caption in json.loads(text)["caption"]
        elif form in ("latex", "markdown"):
            assert "SAE: gemma-2-2b" in text and text.count("{") - text.count("\\{") == text.count("}") - text.count(
                "\\}"
            )


def tags_of(text: str) -> set[str]:
    found, stack = set(), []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: Any) -> None:
            found.add(tag)
            if tag != "br":
                stack.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert stack.pop() == tag

    Reader().feed(text)
    assert not stack
    return found


def test_a_documents_table_is_what_the_api_answers(served: Dashboard) -> None:
    answers = [served.api("documents/capture/tokens", colour=f"feature:{index}") for index in (300, 4)]
    rows = json.loads(take(served, "document", "json"))["rows"]
    assert [row["position"] for row in rows] == list(range(20))
    assert [row["token"] for row in rows] == answers[0]["tokens"]
    for index, answer in zip((300, 4), answers, strict=True):
        assert [row[str(index)] for row in rows] == pytest.approx(answer["values"])
    by_tab = list(csv.reader(io.StringIO(take(served, "document", "tsv")), delimiter="\t"))
    assert by_tab[0] == ["position", "token", "300", "4"] and len(by_tab) == 21
    assert by_tab[8][1] == RESPONSE[0], "a token of tabs and line breaks does not move the others"


def test_a_features_list_and_a_comparison_are_given_in_full(served: Dashboard) -> None:
    for of, address, asked in (
        ("features", "search", {"a": "0", "b": "rest", "limit": 1000}),
        ("compare", "compare", {"a": "doc:0", "b": "row:capture@4", "limit": WIDTH}),
    ):
        expected = served.api(address, **asked)["features"]
        rows = json.loads(take(served, of, "json"))["rows"]
        assert [row["feature"] for row in rows] == [one["index"] for one in expected] and len(rows) > 400
        names = {"log_ratio": "log_ratio", "z": "z"} if of == "features" else {"A": "a", "B": "b"}
        for name, key in names.items():
            assert [row[name] for row in rows] == pytest.approx([one[key] for one in expected])
        assert [row["label"] for row in rows] == [one["label"] for one in expected]


def test_a_token_and_a_feature_are_what_the_api_answers(served: Dashboard) -> None:
    active = served.api("documents/capture/row", at=4)["active"]
    rows = json.loads(take(served, "token", "json"))["rows"]
    assert [row["feature"] for row in rows] == active["index"]
    assert [row["activation"] for row in rows] == pytest.approx(active["value"])
    contexts = served.api("features/3/top", limit=20)["contexts"]
    rows = json.loads(take(served, "feature", "json"))["rows"]
    assert [(row["document"], row["position"]) for row in rows] == [(c["address"], c["position"]) for c in contexts]
    assert HOSTILE[3][1:16] in json.loads(take(served, "feature", "json"))["title"]


def test_the_heat_of_a_token_is_its_share_of_the_scale(served: Dashboard) -> None:
    answer = served.api("documents/capture/tokens", colour="feature:300")
    root = ET.fromstring(take(served, "document", "svg", colour="feature:300"))
    colours = {node.get("fill") for node in root.iter(f"{SVG}rect")}
    for value, reason in zip(answer["values"], answer["reasons"] or [None] * 20, strict=True):
        if value and reason is None:
            assert on_white(PINS[0], value / answer["scale"]) in colours
    assert on_white(HEAT, 0) == "#ffffff" and on_white(HEAT, 1) == on_white(HEAT, 9) == HEAT


def test_a_text_that_would_be_a_formula_is_a_text_to_a_spreadsheet(served: Dashboard) -> None:
    rows = list(csv.reader(io.StringIO(take(served, "document", "csv", document="formulas", colour="l0"))))
    assert [row[1] for row in rows[1:]] == ["'=1+1", "'-2", " ok", '"']


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"of": "map"}, "expected one of document"),
        ({"format": "pdf"}, "expected one of svg"),
        ({"document": "nowhere"}, "nowhere"),
        ({"document": "0", "colour": "feature:1,2,3,4,5,6"}, "up to 5 features"),
        ({"document": "0", "colour": "feature:x"}, "feature:NUMBER"),
        ({"document": "0", "start": 9, "stop": 3}, "rising order"),
        ({"of": "feature", "index": WIDTH}, "does not exist"),
        ({"of": "compare"}, "expected doc:DOCUMENT"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_line(served: Dashboard, asked: dict[str, Any], says: str) -> None:
    status, error = served.refused("figure", **asked)
    assert status in (400, 404) and says in error


def test_a_line_is_never_wider_than_the_sheet_and_words_stay_whole() -> None:
    marks = [Mark(text, 0.5) for text in (" some", " words", "ly", ",", " and") * 60]
    figure = Figure("x", "A title " * 40, "A caption " * 60, Table([], []), flows=[Flow(marks)])
    root = ET.fromstring(svg(figure))
    texts = [(float(node.get("x") or 0), float(node.get("y") or 0), node) for node in root.iter(f"{SVG}text")]
    assert all(x + float(node.get("textLength") or 0) <= SVG_WIDTH for x, _, node in texts)
    for (_, y, before), (_, below, node) in pairwise(texts):
        assert not (node.text in ("ly", ",") and below > y), f"{before.text!r} is torn from {node.text!r}"


def test_a_paragraph_from_right_to_left_is_set_from_the_right() -> None:
    marks = [Mark("שלום"), Mark(" עולם"), Mark("\n"), Mark("one"), Mark(" two")]
    root = ET.fromstring(svg(Figure("x", "t", "c", Table([], []), flows=[Flow(marks)])))
    at = {node.text: float(node.get("x") or 0) for node in root.iter(f"{SVG}text")}
    assert at["שלום"] > at["עולם"] > SVG_WIDTH / 2 > at["two"] > at["one"]
    assert is_from_right(["12 ", "م"]) and not is_from_right(["a", "م"]) and not is_from_right(["12"])


def test_what_is_special_to_latex_is_escaped() -> None:
    text = latex(Figure("x", r"50% of $x_1^2$ & {a} \b # ~", "c", Table(["a&b"], [["<|x|>"]])))
    assert r"50\% of \$x\_1\textasciicircum{}2\$ \& \{a\} \textbackslash{}b \# \textasciitilde{}" in text
    assert r"a\&b \\" in text and r"\textless{}\textbar{}x\textbar{}\textgreater{} \\" in text


def test_texts_are_measured_and_broken() -> None:
    assert width_of("iii", 10) < width_of("mmm", 10) and width_of("字", 10) == pytest.approx(2 * width_of("0", 10))
    assert width_of("e\u0301", 10) == width_of("e", 10)
    lines = wrapped("a word " * 20 + "x" * 200, 10, 100)
    assert all(width_of(line, 10) <= 100 for line in lines)
    assert "".join(lines).replace(" ", "") == "aword" * 20 + "x" * 200
    assert split_token("  a\n") == ("  ", "a↵", True) and split_token("  ") == ("", "␣␣", False)


def test_a_file_is_named_after_its_document(tmp_path: Path) -> None:
    write_shard(tmp_path / "features" / "a b;c.npz", made_up(3, 1), Tokens(texts=["x", "y", "z"]))
    with Dashboard(Data(settings_for(tmp_path))) as served:
        assert served.api("figure", document="a b;c")["name"] == "document-a_b_c.svg"
