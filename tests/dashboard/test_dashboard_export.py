"""`--static` holds what the API answers, of the set that was chosen and of nothing else."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from dashboard_data import WIDTH, made_up, write_features, write_labels, write_shard
from dashboard_server import settings_for

from dashboard import export as exporting
from dashboard.errors import DashboardError
from dashboard.export import as_script, export
from dashboard.model.data import Data, Look
from dashboard.page import WebFiles
from dashboard.views.addresses import API
from dashboard.views.parameters import Parameters
from encoder.index.build import build_index


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dashboard")
    write_labels(path / "sae")
    write_features(path / "features")
    web = path / "web"
    web.mkdir()
    page = '<!doctype html>\n<meta charset="utf-8">\n<script defer src="source-server.js"></script>'
    for name, text in (("index.html", page), ("source-server.js", ""), ("source-static.js", "x"), ("page.css", "")):
        (web / name).write_text(text)
    return path


def exported(folder: Path, out: Path, selection: str | None = None) -> dict[str, Any]:
    with Data(settings_for(folder)).look() as look:
        export(look, out, selection, WebFiles(folder / "web"))
    data = {}
    for path in (out / "data").iterdir():
        text = path.read_text(encoding="utf-8")
        begin = f'staticData("{path.stem}", '
        assert text.startswith(begin) and text.endswith(");\n") and not set("<\u2028\u2029") & set(text)
        data[path.stem] = json.loads(text[len(begin) : -3])
    return data


def ask(look: Look, address: str, *numbers: int, **parameters: object) -> Any:
    (found,) = [one for one in API if one.path == address]
    given = {name: str(value) for name, value in parameters.items()}
    answer = found.view(look, Parameters(given, found.parameters), *numbers)
    return json.loads(exporting.dumps(answer))


@pytest.fixture(scope="module")
def alone(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first five documents as a folder of their own, which has an index: the same documents, rows and figures."""
    path = tmp_path_factory.mktemp("alone")
    write_labels(path / "sae")
    (path / "features").mkdir()
    for name in ("capture.npz", "corpus__part-0.npz"):
        shutil.copy(folder / "features" / name, path / "features" / name)
    build_index(path / "features")
    return path


def test_the_files_hold_what_a_server_with_these_documents_alone_answers(
    folder: Path, alone: Path, tmp_path: Path
) -> None:
    data = exported(folder, tmp_path / "out", "0-4")
    with Data(settings_for(alone)).look() as look:
        summary = ask(look, "summary")
        assert data["summary"].pop("part") == {"n_documents": 5, "of_documents": 7} and summary.pop("part") is None
        for answer in (summary, data["summary"]):
            answer["features"] |= {"folder": "", "index": ""}
        assert data["summary"] == summary | {"static": True, "hints": []}
        assert data["documents"] == ask(look, "documents")
        columns = data["features"]
        known = {one["index"]: one for one in ask(look, "search", limit=WIDTH)["features"]}
        assert columns.pop("figures_of") == "here"
        assert (columns.pop("labels_here"), columns.pop("labels_of")) == (None, WIDTH)
        assert columns["index"] == [index for index in known if index != 7], "of feature 7 there is nothing"
        known.pop(7)
        largest = [ask(look, "features/{}", index)["max_activation"] for index in known]
        assert columns.pop("max_neuronpedia") == largest
        for name, values in columns.items():
            assert values == [one[name] for one in known.values()], name
        for index in known:
            found = data[f"features-{index // 256}"][str(index)]
            mean = found["feature"]["here"].pop("mean")
            expected = ask(look, "features/{}", index)
            edges = expected["here"]["histogram"]["edges"]
            expected["here"]["histogram"]["edges"] = [edges[0], edges[-1]]
            assert mean == pytest.approx(expected["here"].pop("mean")) and found["feature"] == expected
            for name, distinct in (("top", 0), ("distinct", 1)):
                answer = ask(look, "features/{}/top", index, distinct=distinct, limit=20)
                rows = [context["row"] for context in answer["contexts"]]
                assert found[name] == {"total": answer["total"], "rows": rows}
        health = ask(look, "health")
        assert data["health"] == health | {"downloads": [], "queue": None}


@pytest.mark.parametrize("number", range(5))
def test_a_documents_file_holds_what_that_server_answers(
    folder: Path, alone: Path, tmp_path: Path, number: int
) -> None:
    document = exported(folder, tmp_path / "out", "0-4")[f"document-{number}"]
    with Data(settings_for(alone)).look() as look:
        for colour in ("l0", "top"):
            answer = ask(look, "documents/{}/tokens", number, colour=colour)
            assert document["tokens"] | document["colours"][colour] == answer
        for position, row in enumerate(document["rows"]):
            answer = ask(look, "rows/{}", document["tokens"]["first_row"] + position)
            answer["active"] = {name: answer["active"][name] for name in ("index", "value")}
            assert row == answer
        fires = ask(look, "search", document=number, limit=WIDTH)["features"]
        assert document["fires"] == {name: [one[name] for one in fires] for name in ("index", "here", "here_count")}
        b = document["contrast"].pop("b")
        assert b == ("1-4", "0,2-4", "0-1,3-4", "0-2,4", "0-3")[number]
        answer = ask(look, "search", a=number, b=b, limit=WIDTH)
        assert document["contrast"].pop("names") == [answer["a"], answer["b"]]
        more = answer["features"]
        assert document["contrast"] == {name: [one[name] for one in more] for name in ("index", "log_ratio", "z")}


def test_contexts_are_the_strongest_of_the_set_and_of_nothing_else(folder: Path, tmp_path: Path) -> None:
    data = exported(folder, tmp_path / "out", "1,3")
    assert sorted(name for name in data if name.startswith("document-")) == ["document-1", "document-3"]
    assert [document["id"] for document in data["documents"]["documents"]] == [1, 3]
    assert (data["document-1"]["tokens"]["next"], data["document-3"]["tokens"]["next"]) == ("corpus__part-0:2", None)
    rows = [row for number in (1, 3) for row in data[f"document-{number}"]["rows"]]
    assert data["features"]["index"] == sorted({index for row in rows for index in row["active"]["index"]})
    found: dict[int, list[tuple[float, int]]] = {}
    for row in rows:
        if row["reason"] is None:
            for index, value in zip(row["active"]["index"], row["active"]["value"], strict=True):
                found.setdefault(index, []).append((-value, row["row"]))
    first_of_3 = data["document-3"]["tokens"]["first_row"]
    for index, entries in found.items():
        answers = data[f"features-{index // 256}"][str(index)]
        top, once = answers["top"], answers["distinct"]
        assert top["rows"] == [row for _, row in sorted(entries)[:20]]
        assert top["total"] == len(entries) == answers["feature"]["here"]["count"]
        best: dict[int, tuple[float, int]] = {}
        for value, row in sorted(entries):
            best.setdefault(1 if row < first_of_3 else 3, (value, row))
        assert once["rows"] == [row for _, row in sorted(best.values())] and once["total"] == len(best)
    assert "Tell" not in "".join(path.read_text() for path in (tmp_path / "out").rglob("*.js")), "of document 0"


def test_one_document_alone_has_nothing_to_be_compared_with(folder: Path, tmp_path: Path) -> None:
    document = exported(folder, tmp_path / "out", "3")["document-3"]
    assert document["contrast"] is None and document["tokens"]["previous"] is document["tokens"]["next"] is None


def test_it_says_nothing_of_this_machine(folder: Path, tmp_path: Path) -> None:
    exported(folder, tmp_path / "out", "0-2")
    for path in (tmp_path / "out").rglob("*.*"):
        assert str(folder) not in path.read_text() and "/data/" not in path.read_text(), path


def test_it_says_nothing_of_this_machine_where_the_sae_has_no_name(folder: Path, tmp_path: Path) -> None:
    write_labels(tmp_path / "sae")
    (tmp_path / "features").mkdir()
    unnamed = {"sae_release": None, "sae_id": None, "neuronpedia_id": None, "sae_path": "/home/me/secret/sae"}
    write_shard(tmp_path / "features" / "a.npz", made_up(5, 1), **unnamed)
    with Data(settings_for(tmp_path)).look() as look:
        assert look.refusal and "/home/me/secret" in look.refusal
        export(look, tmp_path / "out", None, WebFiles(folder / "web"))
    for path in (tmp_path / "out").rglob("*.*"):
        assert str(tmp_path) not in path.read_text() and "secret" not in path.read_text(), path
    assert "another SAE" in (tmp_path / "out" / "data" / "summary.js").read_text()


def test_equal_data_give_equal_bytes_and_nothing_is_left_beside(folder: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        exported(folder, tmp_path / name, "0,2")
    files = [{p.relative_to(tmp_path / n): p.read_bytes() for p in (tmp_path / n).rglob("*.*")} for n in ("a", "b")]
    assert files[0] == files[1]
    exported(folder, tmp_path / "a", "0")  # an earlier export is replaced as a whole
    assert not (tmp_path / "a" / "data" / "document-2.js").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_the_page_gets_its_data_from_the_files(folder: Path, tmp_path: Path) -> None:
    exported(folder, tmp_path / "out", "0")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "data",
        "index.html",
        "page.css",
        "source-static.js",
    ]
    page = (tmp_path / "out" / "index.html").read_text()
    assert 'src="source-static.js"' in page and "source-server" not in page
    assert page.index("Content-Security-Policy") < page.index("<script") and "default-src 'none'" in page


def test_a_set_that_is_too_large_is_refused_with_what_fits(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "MOST_NNZ", 3000)
    with pytest.raises(DashboardError, match=r"7 documents hold more than 3,000 activations.*the first 3 fit"):
        exported(folder, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_export_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("x")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "thesis")
    for name in ("thesis", "file", "link"):
        with pytest.raises(DashboardError, match="not an export"):
            exported(folder, tmp_path / name)
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "x"


@pytest.mark.parametrize("name", ["README.md", "figure.png", "data/raw.csv", "figures/1.js"])
def test_an_export_to_which_something_was_added_is_left_alone(folder: Path, tmp_path: Path, name: str) -> None:
    added = tmp_path / "out" / name
    for path in (tmp_path / "out" / "data" / "summary.js", tmp_path / "out" / "index.html", added):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    with pytest.raises(DashboardError, match=f"holds {name}"):
        exported(folder, tmp_path / "out", "0")
    assert added.read_text() == "x"


@pytest.mark.parametrize("out", [".", "../here", ""])
def test_the_folder_one_is_in_is_left_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(DashboardError, match="you are in this folder"):
        exported(folder, Path(out), "0")


def test_no_text_can_end_the_script() -> None:
    assert as_script("x", ["</script><!--\u2028"]) == b'staticData("x", ["\\u003c/script>\\u003c!--\\u2028"]);\n'


def test_an_export_without_features_says_what_makes_them(tmp_path: Path) -> None:
    with Data(settings_for(tmp_path)).look() as look, pytest.raises(DashboardError, match="sae-encode run"):
        export(look, tmp_path / "out", None, WebFiles())
    (tmp_path / "features").mkdir()
    write_shard(tmp_path / "features" / "empty.npz", made_up(0, 1))
    with Data(settings_for(tmp_path)).look() as look:
        assert export(look, tmp_path / "out", None, WebFiles()) == 0


def test_one_file_holds_the_page_and_the_data_of_the_part_alone(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    for _ in range(2):  # an earlier one is replaced, by the same bytes
        with Data(settings_for(folder)).look() as look:
            assert export(look, out, "0-3", WebFiles()) == 4
        content = out.read_bytes()
    assert list(tmp_path.iterdir()) == [out] and len(content) < 1_000_000
    text = content.decode()
    assert "src=" not in re.sub(r'src="data:image/svg[^"]+"', "", text.split("<script>")[0]) and str(folder) not in text
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in text.split("</head>")[0]
    packed = re.search(r'id="packed">([^<]+)<', text)
    assert packed is not None and len(scripts) > 15
    data = json.loads(gzip.decompress(base64.b64decode(packed[1])))
    expected = exported(folder, tmp_path / "out", "0-3")
    assert data == {name: answer for name, answer in expected.items() if not name.startswith("figures-")}


def test_one_file_takes_the_place_of_no_other_file(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.html").write_text("<p>mine")
    with Data(settings_for(folder)).look() as look, pytest.raises(DashboardError, match="not a page of sae-dashboard"):
        export(look, tmp_path / "mine.html", "0", WebFiles())
    assert (tmp_path / "mine.html").read_text() == "<p>mine"
